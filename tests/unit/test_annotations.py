"""The annotation table: grammars, prefixes, what a bad value does, and the page written from it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ingress import annotations as package
from ingress.annotations import (
    ANNOTATIONS,
    NGINX_PREFIX,
    OUR_PREFIX,
    UNSUPPORTED,
    Annotations,
    AnnotationSpec,
    BadValue,
    ParsedAnnotations,
    parse_annotations,
    render_docs,
)
from ingress.annotations import read as read_module
from ingress.annotations.hash_key import format_hash_key, parse_hash_key
from ingress.annotations.parsers import (
    parse_bool,
    parse_duration,
    parse_seconds,
    parse_size,
    parse_subject,
    parse_url,
)
from ingress.resources import ObjectMeta, Source
from proxy.table import Balance, HashPart, Policy

ROOT = Path(package.__file__).parents[2]


def read(**annotations: str) -> ParsedAnnotations:
    """Keyword names are suffixes under our prefix, with ``_`` for ``-``; ``nginx__`` in front chooses the other."""
    named = {}
    for name, value in annotations.items():
        prefix = NGINX_PREFIX if name.startswith("nginx__") else OUR_PREFIX
        named[prefix + name.removeprefix("nginx__").replace("_", "-")] = value
    return parse_annotations(ObjectMeta(namespace="default", name="a", annotations=named))


def reasons(parsed: ParsedAnnotations) -> list[tuple[str, str]]:
    return [(problem.severity, problem.reason) for problem in parsed.problems]


def test_docs_page_is_that_of_the_table() -> None:
    """The page in the repository is what the table renders; `python -m ingress.annotations` writes it."""
    assert (ROOT / "docs" / "annotations.md").read_text() == render_docs()


def test_table_is_whole() -> None:
    """Each name stands once, has a field, an example that parses under both prefixes, and a sentence of help."""
    names = [spec.name for spec in ANNOTATIONS]
    assert [name.replace("-", "_") for name in names] == list(Annotations.__struct_fields__)
    others = [annotation.name for annotation in UNSUPPORTED]
    assert len({*names, *others}) == len(names) + len(others)
    for spec in ANNOTATIONS:
        assert spec.help.endswith(".")
        spec.parser(spec.example)
        (spec.nginx_parser or spec.parser)(spec.example)


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_bool_true(text: str) -> None:
    """The spellings of Go that mean true."""
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_bool_false(text: str) -> None:
    """The spellings of Go that mean false."""
    assert parse_bool(text) is False


@pytest.mark.parametrize("text", ["", " true", "true\n", "yes", "on", "tRUE", "2", "truе"])
def test_bool_refused(text: str) -> None:
    """Anything else is neither, a Cyrillic letter included."""
    with pytest.raises(BadValue):
        parse_bool(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1", 1), ("10b", 10), ("1k", 1024), ("1K", 1024), ("8m", 8 << 20), ("8M", 8 << 20), ("2g", 2 << 30)],
)
def test_size(text: str, size: int) -> None:
    """Bytes, with the units of nginx in either case; 0 is kept, since it means no limit."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "+1", "1.5m", "1 m", "1mb", "1t", "1_000", "٣", "1m\n", "9" * 17, "9999999g", "²"]
)
def test_size_refused(text: str) -> None:
    """Signs, fractions, spaces, other digits and numbers beyond the bound are no size."""
    with pytest.raises(BadValue):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1", 1.0), ("60", 60.0), ("500ms", 0.5), ("30s", 30.0), ("5m", 300.0), ("1h", 3600.0)]
)
def test_duration(text: str, seconds: float) -> None:
    """Seconds, or a number with a unit."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "1.5", "1d", "1 s", "1S", "1m30s", "31536001", "9" * 13, "٣"])
def test_duration_refused(text: str) -> None:
    """Nothing, no sign, no fraction, no compound, and at most a year."""
    with pytest.raises(BadValue):
        parse_duration(text)


@pytest.mark.parametrize("text", ["5s", "5m", "0", "", "1e3", "9" * 10])
def test_nginx_timeouts_have_no_unit(text: str) -> None:
    """Under the prefix of ingress-nginx a timeout is a bare number, so that one manifest means the same in both."""
    with pytest.raises(BadValue):
        parse_seconds(text)
    assert parse_seconds("60") == 60.0


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("$request_uri", [("request_uri", "")]),
        ("${uri}", [("uri", "")]),
        ("$host$remote_addr", [("host", ""), ("remote_addr", "")]),
        ("$binary_remote_addr", [("remote_addr", "")]),
        ("$args", [("args", "")]),
        ("$query_string", [("args", "")]),
        ("$request_method:$scheme", [("method", ""), ("text", ":"), ("scheme", "")]),
        ("$arg_userId", [("arg", "userId")]),
        ("$http_x_user_id", [("header", "x-user-id")]),
        ("$cookie_Session", [("cookie", "Session")]),
        ("a${cookie_b}c", [("text", "a"), ("cookie", "b"), ("text", "c")]),
        ("$http_host", [("header", "host")]),
    ],
)
def test_hash_key(text: str, parts: list[tuple[str, str]]) -> None:
    """nginx variables become parts; what stands between is text; the one spelling reads back as the same parts."""
    parsed = parse_hash_key(text)
    assert [(part.source, part.name) for part in parsed] == parts
    assert parse_hash_key(format_hash_key(parsed)) == parsed


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "text only",
            "$",
            "$$host",
            "${host",
            "${}",
            "$ host",
            "$nonsense",
            "$arg_",
            "$http_",
            "$host\n",
            "$hosté",
        ),
        *("$host" * 300, "$cookie-x"),
    ],
)
def test_hash_key_refused(text: str) -> None:
    """Unknown variables, broken braces, keys without a variable, and what is not printable ASCII are refused."""
    with pytest.raises(BadValue):
        parse_hash_key(text)


def test_our_prefix_decides() -> None:
    """Both set: ours counts; a difference is told, equal values are not."""
    parsed = read(proxy_body_size="1k", nginx__proxy_body_size="2k")
    assert parsed.values.proxy_body_size == 1024
    assert reasons(parsed) == [("warning", "AnnotationShadowed")]
    assert not read(proxy_body_size="1k", nginx__proxy_body_size="1k").problems


def test_bad_value_of_ours_is_not_replaced_by_the_other() -> None:
    """A bad value is not an absent one: the value under the other prefix does not step in."""
    parsed = read(ssl_redirect="nope", nginx__ssl_redirect="false")
    assert parsed.values.ssl_redirect is None
    assert ("error", "BadAnnotation") in reasons(parsed)


def test_empty_value_is_bad_not_absent() -> None:
    """A template that rendered nothing is told."""
    parsed = read(nginx__proxy_body_size="")
    assert reasons(parsed) == [("error", "BadAnnotation")]
    assert parsed.values == Annotations()


def test_values_become_policy_and_balance() -> None:
    """What the annotations say arrives in the words of the table."""
    parsed = read(
        proxy_body_size="0",
        proxy_connect_timeout="2",
        proxy_read_timeout="3",
        proxy_send_timeout="4",
        load_balance="ewma",
    )
    assert parsed.values.policy == Policy(max_body_bytes=0, connect_timeout=2.0, read_timeout=3.0, send_timeout=4.0)
    assert parsed.values.balance == Balance(method="ewma")
    assert not parsed.problems
    assert Annotations().policy == Policy()


def test_hash_key_decides_over_load_balance() -> None:
    """upstream-hash-by makes a consistent hash; another method beside it is told to have no effect, chash is not."""
    hashed = Balance(method="hash", hash_key=(HashPart(source="host"),))
    for method, expected in (("ewma", [("warning", "AnnotationShadowed")]), ("chash", [])):
        parsed = read(upstream_hash_by="$host", load_balance=method)
        assert parsed.values.balance == hashed
        assert reasons(parsed) == expected


def test_chash_needs_a_key() -> None:
    """Alone it is told; beside a key that does not parse, one Problem is enough. Either way round robin."""
    for parsed in (read(load_balance="chash"), read(load_balance="chash", upstream_hash_by="$no")):
        assert reasons(parsed) == [("error", "BadAnnotation")]
        assert parsed.values.balance is None


@pytest.mark.parametrize("name", ["chashsubset", "sticky_balanced", "sticky_persistent", "EWMA", "ip_hash"])
def test_other_balancers_are_refused(name: str) -> None:
    """Words that are internal to ingress-nginx, or unknown, are told and leave the default."""
    parsed = read(nginx__load_balance=name)
    assert reasons(parsed) == [("error", "BadAnnotation")]
    assert parsed.values.balance is None


def test_unknown_name_is_told_with_a_guess() -> None:
    """A slip under either prefix names the annotation that was meant; foreign prefixes are not ours."""
    for parsed in (read(ssl_redirct="true"), read(nginx__ssl_redirct="true")):
        assert reasons(parsed) == [("warning", "UnknownAnnotation")]
        assert parsed.problems[0].message.endswith("did you mean ssl-redirect?")
    foreign = ObjectMeta(annotations={"example.com/ssl-redirct": "x", "pyngress.iox/y": "z"})
    assert parse_annotations(foreign) == ParsedAnnotations()


@pytest.mark.parametrize(
    "name",
    [
        *("auth_type", "auth_secret", "auth_url", "satisfy", "configuration_snippet"),
    ],
)
def test_what_keeps_people_out_refuses(name: str) -> None:
    """Under either prefix, whatever the value, an empty one included, the Ingress is refused."""
    for prefix in ("", "nginx__"):
        parsed = read(**{prefix + name: ""})
        assert parsed.refused
        assert reasons(parsed) == [("error", "UnsupportedAnnotation")]


def test_what_keeps_nobody_out_warns() -> None:
    """Other annotations of ingress-nginx are told and change nothing."""
    parsed = read(nginx__mirror_target="x", nginx__limit_rate="5", nginx__rewrite_target="/")
    assert reasons(parsed) == [("warning", "UnsupportedAnnotation")] * 3
    assert not parsed.refused
    assert not parsed.left_out


@pytest.mark.parametrize(("value", "left_out"), [("true", True), ("", True), ("maybe", True), ("false", False)])
def test_canary_is_left_out(value: str, left_out: bool) -> None:
    """Only a clear "false" makes an Ingress with the annotation a plain one."""
    assert read(nginx__canary=value).left_out is left_out


def test_unsafe_bad_value_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A declared annotation that is unsafe to ignore closes the routes when its value does not parse."""
    guard = msgspec.structs.replace(ANNOTATIONS[0], unsafe_to_ignore=True)
    assert isinstance(guard, AnnotationSpec)
    monkeypatch.setattr(read_module, "ANNOTATIONS", (guard, *ANNOTATIONS[1:]))
    assert read(ssl_redirect="nope").refused
    assert not read(ssl_redirect="true").refused
    assert "answer 503" in read(ssl_redirect="nope").problems[0].message


def test_messages_are_bounded_and_escaped() -> None:
    """A value of any length or script can not flood or forge a line of the log."""
    parsed = read(ssl_redirect="x\n\x1b[31m" + "é" * 100_000, **{"y" * 100_000: "1", "z\n": "1"})
    assert len(parsed.problems) == 3
    for problem in parsed.problems:
        assert len(problem.message) + len(problem.field) < 2_000
        assert (problem.message + problem.field).isprintable()


def test_problems_say_where() -> None:
    """Object, field and source of a Problem lead to the annotation."""
    source = Source(file="a.yaml", document=1, line=3)
    metadata = ObjectMeta(namespace="n", name="a", annotations={"pyngress.io/ssl-redirect": "x"})
    (problem,) = parse_annotations(metadata, source=source).problems
    assert str(problem.object) == "Ingress n/a"
    assert problem.field == "metadata.annotations[pyngress.io/ssl-redirect]"
    assert problem.source == source


@pytest.mark.parametrize(
    ("annotations", "refused"),
    [
        ({"auth_tls_verify_client": "on"}, True),
        ({"auth_tls_match_cn": "CN=alice"}, True),
        ({"auth_tls_verify_client": "optional_no_ca"}, True),
        ({"auth_tls_verify_client": "off", "auth_tls_match_cn": "CN=alice"}, False),
        ({"auth_tls_verify_client": "on", "auth_tls_secret": "authority"}, False),
        ({"auth_tls_verify_depth": "2"}, False),
        ({"auth_tls_secret": ""}, True),
        ({"auth_tls_secret": "authority", "auth_tls_verify_depth": "two"}, True),
        ({"auth_tls_secret": "authority", "auth_tls_pass_certificate_to_upstream": "two"}, False),
    ],
)
def test_client_certificates_that_cannot_be_asked_for_refuse(annotations: dict[str, str], refused: bool) -> None:
    """Under either prefix: who means to keep somebody out does not let everybody in by a slip."""
    for prefix in ("", "nginx__"):
        assert read(**{prefix + name: value for name, value in annotations.items()}).refused is refused


@pytest.mark.parametrize("text", ["", "alice", "cn=alice", "CN=(?=a)", "CN=(", "CN=a\nb", "CN=" + "a" * 600])
def test_expressions_for_subjects_are_checked(text: str) -> None:
    """They begin as in ingress-nginx, and RE2 takes them."""
    with pytest.raises(BadValue):
        parse_subject(text)


@pytest.mark.parametrize(
    "text", ["", "@named", "/here", "//example.com/", "javascript:x", "https://", "https://a b/", "https://a/\r\nX: y"]
)
def test_error_pages_are_urls(text: str) -> None:
    """Nothing that would lead to this host by a slip, and nothing that breaks a header."""
    with pytest.raises(BadValue):
        parse_url(text)
