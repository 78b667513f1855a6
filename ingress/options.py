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
    """Folder (or file) of manifests. Empty: a cluster is watched."""
    kubeconfig: str = ""
    """Empty: the service account of the pod, else what kubectl would use."""
    context: str = ""
    """Of the kubeconfig; empty: its current one."""
    watch_namespaces: tuple[str, ...] = ()
    """Empty: all. With some, Roles in them are enough."""
    watch_namespace_selector: str = ""
    """Labels of namespaces, as in ``kubectl -l``. Empty: all."""
    watch_ingress_without_class: bool | None = None
    """Serve Ingresses without any class though no class of ours is the default one. ``None``: with manifests only."""
    publish_service: tuple[str, str] | None = None
    """Namespace and name of the Service whose addresses Ingresses show. ``None``: see the two below."""
    publish_status_addresses: tuple[str, ...] = ()
    """IP addresses or host names that Ingresses show. With neither, those of the nodes that run this controller."""
    update_status: bool = True
    leader_election: bool = True
    """Off: this one is always the leader; only for a single replica."""
    election_id: str = "pyngress-leader"
    """Name of the Lease, in the controller's namespace."""
    webhook_port: int = 0
    """0: no admission webhook."""
    webhook_name: str = "pyngress"
    """The ValidatingWebhookConfiguration, the Service and the Secret (``…-webhook``) of the webhook."""
    configmap: tuple[str, str] | None = None
    """Namespace and name of the ConfigMap with the settings of ingress-nginx. Nothing is read from it."""
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
    enable_ssl_passthrough: bool = False
    """Heed the annotation ``ssl-passthrough``, by which an Ingress takes the TLS of a host to itself."""
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

    @property
    def serves_classless(self) -> bool:
        """``watch_ingress_without_class``, decided."""
        wanted = self.watch_ingress_without_class
        return bool(self.manifests) if wanted is None else wanted
