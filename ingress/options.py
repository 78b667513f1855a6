"""What the operator asked for: one frozen value, made by the command line and never changed."""

from __future__ import annotations

from typing import Literal

import msgspec

from proxy.table import Settings

__all__ = ["DEFAULT_CONTROLLER_NAME", "DEFAULT_INGRESS_CLASS", "LogFormat", "LogLevel", "Options", "ServiceRef"]

DEFAULT_INGRESS_CLASS = "pyngress"
DEFAULT_CONTROLLER_NAME = "pyngress.io/ingress-controller"

LogFormat = Literal["auto", "text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class ServiceRef(msgspec.Struct, frozen=True, kw_only=True):
    """``namespace/name:port`` as an option names it; ``port`` is a number or a name."""

    namespace: str
    name: str
    port: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}:{self.port}"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in seconds, sizes in bytes."""

    manifests: str = ""
    """Folder (or file) of manifests."""
    bind: tuple[str, ...] = ("0.0.0.0", "::")
    http_port: int = 80
    https_port: int = 443
    admin_bind: tuple[str, ...] = ("0.0.0.0", "::")
    admin_port: int = 10254
    workers: int = 0
    """0: as many as the CPU quota of this process allows, rounded up."""
    ingress_class: str = DEFAULT_INGRESS_CLASS
    controller_name: str = DEFAULT_CONTROLLER_NAME
    default_backend: ServiceRef | None = None
    default_ssl_certificate: tuple[str, str] | None = None
    """Namespace and name of a Secret."""
    ssl_redirect: bool = True
    """Redirect http to https for hosts with TLS, unless an annotation says otherwise."""
    shutdown_delay: float = 10.0
    """Seconds to keep accepting after SIGTERM, so that load balancers notice."""
    drain_timeout: float = 30.0
    """Seconds that requests in flight get to end afterwards."""
    log_format: LogFormat = "auto"
    """The form of the control process's own log. ``auto``: text on a terminal, JSON otherwise."""
    log_level: LogLevel = "info"
    settings: Settings = Settings()
    """Everything else goes to the workers as it is."""
