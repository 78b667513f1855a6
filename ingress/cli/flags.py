"""Every flag that sets an option, declared once: command line, environment, help and docs come from this table.

1. A flag is named after its option, unless ``name`` says otherwise: ``http_port`` is ``--http-port`` and
   ``PYNGRESS_HTTP_PORT``.
2. Its default is that of :class:`~ingress.options.Options` or :class:`~proxy.table.Settings`, and written nowhere else.
3. The command line goes before the environment, the environment before the default.
4. A flag that decides how manifests are read and translated is also one of ``check``, ``routes`` and ``explain``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any, Literal

import click
import msgspec

from ingress.cli.values import (
    Address,
    Ciphers,
    Count,
    Duration,
    LabelSelector,
    Name,
    Names,
    NamespacedName,
    Networks,
    Port,
    ServicePort,
    Size,
    StatusAddresses,
    Value,
    Words,
    Workers,
)
from ingress.options import Options
from proxy.table import Hsts, Settings

__all__ = ["FLAGS", "TABLE_FLAGS", "Flag", "FlagOption", "as_option", "options_from"]

ENVIRONMENT_PREFIX = "PYNGRESS_"

_DEFAULT_HSTS = Settings().hsts

Kind = Value | click.Choice[str] | click.types.StringParamType | Literal["switch"]


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """One option as flag and variable."""

    option: str
    """A field of Options, or of Settings with ``setting``; behind a dot, a field of that field."""
    help: str
    kind: Kind
    group: str
    name: str
    """With dashes in front. A switch also has its ``--no-`` form."""
    setting: bool = False
    default: Any = None

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.removeprefix("--").replace("-", "_").upper()

    @property
    def negation(self) -> str:
        """``--no-…`` of a switch."""
        return "--no-" + self.name.removeprefix("--")

    @property
    def shown_default(self) -> str:
        if self.default is None and self.kind == "switch":
            return "on with --manifests, else off"
        if self.kind == "switch":
            return "on" if self.default else "off"
        if isinstance(self.kind, Value):
            return self.kind.show(self.default)
        return str(self.default) or "none"


def _flags(
    group: str, *rows: tuple[str, Kind, str] | tuple[str, Kind, str, str], setting: bool = False
) -> tuple[Flag, ...]:
    """``rows`` of option, kind, help and, where it differs, the flag's name."""
    defaults = Settings() if setting else Options()
    return tuple(
        Flag(
            option=option,
            kind=kind,
            help=help_text,
            group=group,
            name=name[0] if name else "--" + option.replace("_", "-"),
            setting=setting,
            default=reduce(getattr, option.split("."), defaults),
        )
        for option, kind, help_text, *name in rows
    )


_MANIFESTS = _flags(
    "Manifests",
    ("manifests", click.STRING, "Folder (or file) of Kubernetes manifests to serve in place of a cluster's objects."),
)

_CLUSTER = _flags(
    "Cluster",
    ("kubeconfig", click.STRING, "Kubeconfig file; none: the pod's service account, else what kubectl would use."),
    ("context", click.STRING, "Context of the kubeconfig; none: its current one."),
    (
        "watch_namespaces",
        Names(),
        "Namespaces to watch; Roles in them are enough. None: all. Repeatable.",
        "--watch-namespace",
    ),
    ("watch_namespace_selector", LabelSelector(), "Labels of the namespaces to watch, as in kubectl -l."),
    ("configmap", NamespacedName(), "Accepted, as ingress-nginx has it, and ignored; the log says so."),
)

_WRITING = _flags(
    "Status, events and admission",
    ("publish_service", NamespacedName(), "Service whose addresses the Ingresses show in their status."),
    (
        "publish_status_addresses",
        StatusAddresses(),
        "Addresses that the Ingresses show instead. With neither: those of the nodes. Repeatable.",
        "--publish-status-address",
    ),
    ("update_status", "switch", "Write the status of Ingresses and policies."),
    ("leader_election", "switch", "Elect the one replica that writes; off: this one does."),
    ("election_id", Name(), "Name of the Lease of the election, in the controller's namespace."),
    ("webhook_port", Port(any_free=False, off=True), "Port of the validating admission webhook; 0: none."),
    ("webhook_name", Name(), "Name of the webhook's configuration and Service, and of its Secret with -webhook."),
)

_TABLE = _flags(
    "Ingress objects",
    ("ingress_class", click.STRING, "Class to serve where no IngressClass is to be seen."),
    ("controller_name", click.STRING, "Value of spec.controller by which an IngressClass is ours."),
    (
        "watch_ingress_without_class",
        "switch",
        "Serve Ingresses that name no class, even if no class of ours is the default one.",
    ),
    ("default_backend", ServicePort(), "Service for requests that nothing else matches."),
    ("default_ssl_certificate", NamespacedName(), "TLS Secret for names without one; none: a self-signed certificate."),
    ("enable_ssl_passthrough", "switch", "Heed the annotation ssl-passthrough: endpoints end the TLS of a host."),
    ("ssl_redirect", "switch", "Redirect http to https for hosts with TLS."),
)

_LISTENING = _flags(
    "Listening",
    ("bind", Address(), "Addresses to listen on; '::' is left out where there is no IPv6. Repeatable."),
    ("http_port", Port(), "Port for http."),
    ("https_port", Port(), "Port for https."),
    ("admin_bind", Address(), "Addresses of the admin server."),
    ("admin_port", Port(), "Port of the admin server: health, metrics, table, problems."),
    ("workers", Workers(), "Worker processes; auto: the CPU quota of the container, rounded up."),
)

_LOGS = (
    *_flags(
        "Logs",
        ("access_log", "switch", "Write a line per request to standard output."),
        ("access_log", click.Choice(["json", "combined"]), "Form of the access log.", "--access-log-format"),
        setting=True,
    ),
    *_flags(
        "Logs",
        (
            "log_format",
            click.Choice(["auto", "text", "json"]),
            "Form of the control log on standard error; auto: text on a terminal, JSON elsewhere.",
        ),
        ("log_level", click.Choice(["debug", "info", "warning", "error"]), "Least severity in the control log."),
    ),
)

_REQUESTS = _flags(
    "Requests",
    ("trusted_proxies", Networks(), "Networks whose X-Forwarded-* and X-Real-IP are believed. Repeatable."),
    (
        "proxy_protocol_from",
        Networks(),
        "Networks whose connections begin with a PROXY protocol header (v1, v2), which must be there. Repeatable.",
    ),
    ("http2", "switch", "Offer HTTP/2 over TLS (ALPN)."),
    ("h2c", "switch", "Take HTTP/2 without TLS too, from clients that begin with it."),
    ("https_redirect_port", Port(any_free=False), "Port that clients reach https on, named in redirects unless 443."),
    ("merge_slashes", "switch", "Treat // in a path as /."),
    ("allow_underscores", "switch", "Forward header names with an underscore; off: they are dropped."),
    ("allow_local_names", "switch", "Let ExternalName Services lead to loopback and link-local addresses."),
    ("max_retries", Count(0, 100), "Further endpoints tried when one fails."),
    (
        "retry_budget_percent",
        Count(0, 100),
        "Retries per 100 requests with no healthy endpoint left.",
        "--retry-budget",
    ),
    setting=True,
)

_TLS = _flags(
    "TLS",
    ("tls_min_version", click.Choice(["1.2", "1.3"]), "Least version of TLS that clients may use."),
    ("tls_ciphers", Ciphers(), "Ciphers for TLS 1.2 as an OpenSSL list; none: ECDHE with AES-GCM or ChaCha20."),
    ("hsts", "switch", "Send Strict-Transport-Security over https, for hosts with TLS."),
    ("hsts.max_age", Count(0, 999_999_999), "Seconds that browsers remember it.", "--hsts-max-age"),
    ("hsts.include_subdomains", "switch", "Name subdomains in it.", "--hsts-include-subdomains"),
    ("hsts.preload", "switch", "Ask for a place in the lists that browsers come with.", "--hsts-preload"),
    setting=True,
)

_LIMITS = _flags(
    "Limits",
    ("max_body_bytes", Size(zero=True), "Largest request body, in bytes; 0: no limit.", "--max-body-size"),
    ("max_request_line", Size(), "Longest request line, in bytes; beyond: 414."),
    ("max_header_bytes", Size(), "All header lines of a request together, in bytes; beyond: 431."),
    ("max_header_fields", Count(1, 10_000), "Header lines of a request; beyond: 431."),
    ("max_connections", Count(0, 10_000_000), "Client connections per worker; 0: what the open-files limit allows."),
    (
        "max_requests",
        Count(0, 10_000_000),
        "Requests to backends under way per worker; beyond: 503 with Retry-After. 0: no limit.",
        "--max-requests-in-flight",
    ),
    ("upstream_keepalive_connections", Count(0, 100_000), "Idle connections kept per endpoint and worker."),
    ("body_min_rate", Count(0, 1_000_000), "Bytes per second below which a request body is cut off; 0: never."),
    setting=True,
)

_TIMEOUTS = _flags(
    "Timeouts",
    ("tls_handshake_timeout", Duration(), "From the accepted connection to the end of the TLS handshake, in seconds."),
    ("header_timeout", Duration(), "From the accepted connection to the end of the request head, in seconds."),
    ("keepalive_timeout", Duration(), "Idle time of a client connection between requests, in seconds."),
    ("body_timeout", Duration(), "Longest wait for more of a request body, in seconds."),
    ("write_timeout", Duration(), "Longest wait for a client to take more of a response, in seconds."),
    ("connect_timeout", Duration(), "Longest wait for a connection to an endpoint, in seconds."),
    ("read_timeout", Duration(), "Longest wait between two reads from an endpoint, in seconds."),
    ("send_timeout", Duration(), "Longest wait between two writes to an endpoint, in seconds."),
    ("tunnel_timeout", Duration(), "Idle time of an upgraded connection (WebSocket), in seconds."),
    ("upstream_keepalive_timeout", Duration(), "Idle time of a kept connection to an endpoint, in seconds."),
    setting=True,
)

_SHUTDOWN = _flags(
    "Shutdown",
    ("shutdown_delay", Duration(zero=True), "After SIGTERM, keep accepting for so many seconds."),
    ("drain_timeout", Duration(zero=True), "Then give requests in flight so many seconds to end."),
)

TABLE_FLAGS = (*_MANIFESTS, *_TABLE)
"""Flags that decide what the table is: of ``check``, ``routes`` and ``explain`` too."""

FLAGS = (*TABLE_FLAGS, *_CLUSTER, *_WRITING, *_LISTENING, *_TLS, *_REQUESTS, *_LIMITS, *_TIMEOUTS, *_SHUTDOWN, *_LOGS)


class FlagOption(click.Option):
    """A flag as click has it. A switch also listens to its ``PYNGRESS_NO_…`` variable, where truth means off."""

    def __init__(self, flag: Flag, **attributes: Any) -> None:
        self.flag = flag
        super().__init__(**attributes)

    def get_help_extra(self, ctx: click.Context) -> Any:
        return {**super().get_help_extra(ctx), "default": self.flag.shown_default}

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        value = super().resolve_envvar_value(ctx)
        if value is not None or self.flag.kind != "switch":
            return value
        negated = self.flag.variable.replace(ENVIRONMENT_PREFIX, f"{ENVIRONMENT_PREFIX}NO_", 1)
        off = self._read_negated(negated, ctx)
        return None if off is None else str(not off)

    def _read_negated(self, variable: str, ctx: click.Context) -> bool | None:
        text = os.environ.get(variable)
        return None if not text else bool(click.BOOL.convert(text, self, ctx))


def as_option(flag: Flag) -> FlagOption:
    """``flag`` for a click command."""
    attributes: dict[str, Any] = {
        "help": flag.help,
        "default": flag.default,
        "show_default": flag.shown_default,
        "envvar": flag.variable,
        "show_envvar": True,
    }
    if flag.kind == "switch":
        attributes |= {"param_decls": [f"{flag.name}/{flag.negation}"], "is_flag": True}
        attributes["default"] = None if flag.default is None else flag.default not in (False, "off")
        return FlagOption(flag, **attributes)
    attributes |= {"param_decls": [flag.name], "type": flag.kind}
    if isinstance(flag.kind, Words):
        attributes |= {"multiple": True, "default": (flag.default,)}
    return FlagOption(flag, **attributes)


def options_from(values: Mapping[str, Any]) -> Options:
    """The Options of a command's values by parameter name; flags that the command does not have keep their defaults."""
    plain: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for flag, value in _given(values):
        (settings if flag.setting else plain)[flag.option] = value
    hsts = {name: settings.pop(f"hsts.{name}") for name in Hsts.__struct_fields__ if f"hsts.{name}" in settings}
    if "hsts" in settings:
        # The default itself where it is that: it is left out of every encoding.
        settings["hsts"] = None if not settings["hsts"] else _DEFAULT_HSTS if Hsts() == Hsts(**hsts) else Hsts(**hsts)
    if values.get("access_log") is False:
        settings["access_log"] = "off"
    for port in ("http_port", "https_port"):
        if plain.get(port):
            settings[port] = plain[port]
    return Options(**plain, settings=Settings(**settings))


def _given(values: Mapping[str, Any]) -> Iterator[tuple[Flag, Any]]:
    """Each flag with its value; the switch of the access log is left to its reader."""
    for flag in FLAGS:
        parameter = flag.name.removeprefix("--").replace("-", "_")
        if parameter not in values or parameter == "access_log":
            continue
        value = values[parameter]
        if isinstance(flag.kind, Words):
            value = tuple(dict.fromkeys(word for words in value for word in words))
        yield flag, value
