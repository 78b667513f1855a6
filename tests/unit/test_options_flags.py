"""Flags, their environment variables and their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from ingress.cli.command import SectionedCommand, with_options
from ingress.cli.flags import FLAGS, Flag
from ingress.cli.reference import options_page
from ingress.cli.values import Duration, Networks, Size, Value, show_duration, show_size
from ingress.options import Options, ServiceRef
from proxy.table import Settings

seen: list[Options] = []


@click.command(cls=SectionedCommand)
@with_options(FLAGS)
def command(options: Options) -> None:
    """Records its options."""
    seen.append(options)


def parse(*arguments: str, **environment: str) -> Options:
    result = invoke(*arguments, **environment)
    assert result.exit_code == 0, result.output
    return seen.pop()


def invoke(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(command, list(arguments), env=environment, prog_name="pyngress run")


def value_of(options: Options, flag: Flag) -> Any:
    value: Any = options.settings if flag.setting else options
    for name in flag.option.split("."):
        value = None if value is None else getattr(value, name)
    return value


def field_of(flag: Flag) -> str:
    return flag.option.partition(".")[0]


SAMPLES: dict[str, tuple[str, Any]] = {
    "--manifests": ("folder", "folder"),
    "--ingress-class": ("other", "other"),
    "--controller-name": ("example.com/x", "example.com/x"),
    "--default-backend": ("web/app:http", ServiceRef(namespace="web", name="app", port="http")),
    "--default-ssl-certificate": ("web/tls", ("web", "tls")),
    "--watch-ingress-without-class": ("false", False),
    "--kubeconfig": ("file", "file"),
    "--context": ("kind-pyngress", "kind-pyngress"),
    "--watch-namespace": ("web,shop", ("web", "shop")),
    "--watch-namespace-selector": ("team in (web, shop),!old", "team in (web, shop),!old"),
    "--configmap": ("ingress/settings", ("ingress", "settings")),
    "--publish-service": ("ingress/pyngress", ("ingress", "pyngress")),
    "--publish-status-address": ("192.0.2.1,LB.example.com", ("192.0.2.1", "lb.example.com")),
    "--update-status": ("false", False),
    "--leader-election": ("false", False),
    "--election-id": ("other", "other"),
    "--webhook-port": ("8443", 8443),
    "--webhook-name": ("other", "other"),
    "--tls-min-version": ("1.3", "1.3"),
    "--tls-ciphers": ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    "--hsts": ("false", None),
    "--hsts-include-subdomains": ("false", False),
    "--hsts-preload": ("true", True),
    "--enable-ssl-passthrough": ("true", True),
    "--ssl-redirect": ("false", False),
    "--bind": ("127.0.0.1,::1", ("127.0.0.1", "::1")),
    "--http-port": ("8080", 8080),
    "--https-port": ("8443", 8443),
    "--admin-bind": ("127.0.0.1", ("127.0.0.1",)),
    "--admin-port": ("9999", 9999),
    "--workers": ("3", 3),
    "--access-log": ("false", "off"),
    "--access-log-format": ("combined", "combined"),
    "--log-format": ("json", "json"),
    "--log-level": ("debug", "debug"),
    "--max-requests-in-flight": ("5000", 5000),
    "--trusted-proxies": ("10.0.0.0/8,fd00::/8", ("10.0.0.0/8", "fd00::/8")),
    "--proxy-protocol-from": ("10.0.0.0/8,fd01::/16", ("10.0.0.0/8", "fd01::/16")),
    "--http2": ("false", False),
    "--h2c": ("true", True),
    "--https-redirect-port": ("8443", 8443),
    "--merge-slashes": ("false", False),
    "--allow-underscores": ("true", True),
    "--allow-local-names": ("true", True),
    "--max-body-size": ("10m", 10 * 1024 * 1024),
}
"""Variables in the environment and what they come to; other numbers are tried with a value that is not the default."""


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_each_flag_is_read_from_its_variable(flag: Flag) -> None:
    """Every flag has a PYNGRESS_ variable that sets its option, and its option only."""
    text, expected = SAMPLES.get(flag.name, ("7", 7))
    options = parse(**{"PYNGRESS_" + flag.name[2:].upper().replace("-", "_"): text})
    assert value_of(options, flag) == expected
    assert value_of(options, flag) != value_of(Options(), flag)
    changed = {
        other.name
        for other in FLAGS
        if field_of(other) != field_of(flag) and value_of(options, other) != value_of(parse(), other)
    }
    assert changed == set()


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.kind != "switch"], ids=lambda flag: flag.name)
def test_each_flag_goes_before_its_variable(flag: Flag) -> None:
    """The command line wins over the environment."""
    text, expected = SAMPLES.get(flag.name, ("7", 7))
    shown = flag.kind.show(flag.default) if isinstance(flag.kind, Value) else str(flag.default)
    variable = {} if shown in ("none", "") else {flag.variable: shown}
    assert value_of(parse(flag.name, text, **variable), flag) == expected


def test_every_setting_has_a_flag() -> None:
    """A field that is added to Settings or Options without a flag is noticed."""
    settings = {field_of(flag) for flag in FLAGS if flag.setting}
    plain = {flag.option for flag in FLAGS if not flag.setting}
    assert settings == {*Settings.__struct_fields__} - {"http_port", "https_port", "https_redirect_status"}
    assert plain == {*Options.__struct_fields__} - {"settings"}


def test_no_flags_give_the_defaults() -> None:
    """An empty command line is Options() itself."""
    assert parse() == Options()


def test_the_shown_default_is_the_default() -> None:
    """What help and docs call the default comes back as the default when it is given."""
    for flag in FLAGS:
        if isinstance(flag.kind, Value) and flag.shown_default != "none":
            assert flag.kind.read(flag.shown_default) == flag.default, flag.name


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ((), {}, "json"),
        (("--no-access-log",), {}, "off"),
        ((), {"PYNGRESS_NO_ACCESS_LOG": "true"}, "off"),
        ((), {"PYNGRESS_NO_ACCESS_LOG": "0"}, "json"),
        (("--access-log",), {"PYNGRESS_NO_ACCESS_LOG": "1"}, "json"),
        (("--no-access-log", "--access-log-format", "combined"), {}, "off"),
        (("--access-log-format", "combined"), {}, "combined"),
    ],
)
def test_the_access_log_switch(arguments: tuple[str, ...], environment: dict[str, str], expected: str) -> None:
    """The switch, its negation, and the variables of both, beside the form."""
    assert parse(*arguments, **environment).settings.access_log == expected


def test_lists_are_given_with_commas_or_repeated() -> None:
    """Both ways add up, without doubles."""
    options = parse("--trusted-proxies", "10.0.0.0/8, fd00::/8", "--trusted-proxies", "10.0.0.0/8,192.0.2.1")
    assert options.settings.trusted_proxies == ("10.0.0.0/8", "fd00::/8", "192.0.2.1/32")


def test_ports_are_told_to_workers() -> None:
    """X-Forwarded-Port is the port that is listened on; a free port that is not yet known does not count."""
    settings = parse("--http-port", "8080", "--https-port", "0").settings
    assert (settings.http_port, settings.https_port) == (8080, 443)


@pytest.mark.parametrize(
    ("flag", "value", "accepted"),
    [
        ("--http-port", "65536", "a port: a whole number from 0 to 65535"),
        ("--http-port", "８０", "a port"),
        ("--workers", "0", "'auto' or a whole number from 1 to 256"),
        ("--read-timeout", "0", "a duration of more than 0"),
        ("--read-timeout", "-1", "a duration of more than 0"),
        ("--read-timeout", "1e3", "a duration of more than 0"),
        ("--max-body-size", "10x", "a size: bytes, or a number with k, m or g"),
        ("--max-header-bytes", "0", "a size"),
        ("--trusted-proxies", "10.0.0.1/8", "bits behind the prefix must be 0"),
        ("--bind", "localhost", "an IP address"),
        ("--bind", "", "an IP address"),
        ("--default-backend", "app:80", "namespace/name:port"),
        ("--default-backend", "web/app:70000", "namespace/name:port"),
        ("--default-ssl-certificate", "../etc", "namespace/name"),
        ("--watch-namespace-selector", "team in web", "a label selector"),
        ("--watch-namespace", "a/b", "a name"),
        ("--publish-status-address", "1.2.3", "an IP address or a host name"),
        ("--webhook-port", "65536", "a port: a whole number from 0 to 65535 (0 for none)"),
        ("--access-log-format", "clf", "'json', 'combined'"),
        ("--allow-underscores", None, "maybe"),
    ],
)
def test_a_bad_value_is_refused_with_flag_value_and_what_is_accepted(flag: str, value: str, accepted: str) -> None:
    """Exit code 2, from the command line and from the environment alike."""
    variable = "PYNGRESS_" + flag[2:].upper().replace("-", "_")
    tries = [invoke(**{variable: value or "maybe"})] if value != "" else []
    tries += [invoke(flag, value)] if value is not None else []
    for result in tries:
        assert result.exit_code == 2
        assert flag in result.output
        assert accepted in " ".join(result.output.split())
        assert (value or "") in result.output


def test_help_shows_every_flag_with_variable_and_default() -> None:
    """Nothing of the table is missing from --help."""
    result = CliRunner().invoke(command, ["--help"], terminal_width=400, max_content_width=400)
    text = " ".join(result.output.split())
    for flag in FLAGS:
        assert f"{flag.help} [env var: {flag.variable}; default: {flag.shown_default}]" in text
        assert f"{flag.name} " in text


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10.0), ("1.5", 1.5), ("500ms", 0.5), ("2m", 120.0), ("1h", 3600.0), ("0", 0.0)]
)
def test_durations(text: str, seconds: float) -> None:
    """Seconds unless a unit follows."""
    assert Duration(zero=True).read(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("8192", 8192), ("8k", 8192), ("10M", 10485760), ("1g", 2**30)])
def test_sizes(text: str, size: int) -> None:
    """Bytes unless a unit follows, in either case."""
    assert Size(zero=True).read(text) == size


def test_values_are_shown_in_the_largest_whole_unit() -> None:
    """Defaults read as a person would write them."""
    assert [show_duration(s) for s in (0, 0.25, 1.5, 10, 90, 120, 3600)] == [
        "0s",
        "250ms",
        "1500ms",
        "10s",
        "90s",
        "2m",
        "1h",
    ]
    assert [show_size(s) for s in (0, 100, 8192, 8193, 2**20, 2**30)] == ["0", "100", "8k", "8193", "1m", "1g"]


def test_a_bare_address_is_a_network_of_one() -> None:
    """As operators write single load balancers."""
    assert Networks().read("192.0.2.7,2001:db8::1") == ("192.0.2.7/32", "2001:db8::1/128")


def test_the_page_of_options_is_current() -> None:
    """docs/options.md is what the table of flags gives; ``make docs`` rewrites it."""
    page = Path(__file__).parents[2] / "docs" / "options.md"
    assert page.read_text(encoding="utf-8") == options_page()


def test_options_are_frozen() -> None:
    """Nobody changes options after the command line made them."""
    with pytest.raises(AttributeError):
        parse().workers = 2  # type: ignore[misc]  # the point of the test
    assert msgspec.structs.replace(Options(), workers=2).workers == 2
