"""Finds the cluster and the credentials.

1. ``--kubeconfig`` or ``--context`` given: that kubeconfig.
2. In a pod: its service account. Its token is read again each minute, because the kubelet rotates it.
3. Else what kubectl uses: the files in ``KUBECONFIG``, or ``~/.kube/config``. Token files are read again, and plugins
   and identity providers asked again, before their tokens expire.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
import yaml

from ingress.kube.errors import KubeConfigError

if TYPE_CHECKING:
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config.kube_config import KubeConfigLoader

__all__ = ["Access", "find_access"]

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REFRESH: Final = 60.0
"""Seconds. The kubelet renews a token at 80 % of its life, which is 10 minutes at least: 2 minutes remain."""

log = structlog.get_logger("pyngress.kube")


class Access:
    """One way to the cluster. ``configuration`` says where; :meth:`authorization` proves who."""

    def __init__(self, configuration: Configuration, *, name: str, namespace: str) -> None:
        self.configuration = configuration
        self.name = name
        """What the log calls it."""
        self.namespace = namespace
        """That it names as its own; empty: none."""

    async def authorization(self) -> str | None:
        """The ``Authorization`` header; ``None``: a client certificate or nothing speaks for us."""
        await self._refresh()
        token = self.configuration.api_key.get("BearerToken")
        return str(token).strip() if token else None

    async def _refresh(self) -> None:
        """Keeps the token alive."""
        try:
            # Its hook of a service account reads the token again when it is a minute old.
            await self.configuration.get_api_key_with_prefix("BearerToken")
        except _faults() as error:
            log.warning("the token cannot be read again: the one before stays", access=self.name, error=_text(error))


class _KubeconfigAccess(Access):
    def __init__(self, configuration: Configuration, loader: KubeConfigLoader, *, name: str, namespace: str) -> None:
        super().__init__(configuration, name=name, namespace=namespace)
        self._loader = loader
        self._read_at = time.monotonic()

    async def _refresh(self) -> None:
        user = self._loader._user
        if user is None or time.monotonic() - self._read_at < REFRESH:
            return
        if "exec" in user and not hasattr(self._loader, "exec_plugin_expiry"):
            return  # it said nothing of an end: asked again only when the server refuses its token
        self._read_at = time.monotonic()
        try:
            await self._loader._load_authentication()
        except _faults() as error:
            log.warning("credentials cannot be renewed: those before stay", access=self.name, error=_text(error))
            return
        if hasattr(self._loader, "token"):
            self.configuration.api_key["BearerToken"] = self._loader.token


async def find_access(*, kubeconfig: str = "", context: str = "") -> Access:
    """Empty arguments: as the rules above say. Raises :class:`KubeConfigError`."""
    if not kubeconfig and not context and _in_pod():
        return _service_account()
    return await _kubeconfig(os.pathsep.join(_kubeconfig_files(kubeconfig)), context)


def _kubeconfig_files(given: str) -> list[str]:
    files = given or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    found = [path for path in files.split(os.pathsep) if path and Path(path).expanduser().is_file()]
    if not found:
        if given:
            raise KubeConfigError(f"--kubeconfig: there is no file {given!r}")
        raise KubeConfigError(
            f"no cluster: this is not a pod with a service account, and there is no kubeconfig at {files}; "
            "give --kubeconfig FILE, or --manifests FOLDER to serve without a cluster"
        )
    return found


def _in_pod() -> bool:
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and (SERVICE_ACCOUNT / "token").exists()


def _service_account() -> Access:
    # Imported where a cluster is used: it takes half a second and 60 MB for models that nothing here needs.
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader

    configuration = Configuration()
    try:
        InClusterConfigLoader(
            token_filename=str(SERVICE_ACCOUNT / "token"), cert_filename=str(SERVICE_ACCOUNT / "ca.crt")
        ).load_and_set(configuration)
        namespace = _read(SERVICE_ACCOUNT / "namespace")
    except _faults() as error:
        raise KubeConfigError(f"the service account of this pod cannot be used: {_text(error)}") from error
    return Access(configuration, name="service account", namespace=namespace)


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


async def _kubeconfig(files: str, context: str) -> Access:
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config import load_kube_config

    configuration = Configuration()
    try:
        loader = await load_kube_config(
            files, context=context or None, client_configuration=configuration, persist_config=False
        )
        entry = loader.current_context or {}
        namespace = str((entry.get("context") or {}).get("namespace") or "")
    except _faults() as error:
        where = f"{files}, context {context!r}" if context else files
        raise KubeConfigError(f"kubeconfig {where}: {_text(error)}") from error
    return _KubeconfigAccess(configuration, loader, name=f"kubeconfig {files}", namespace=namespace)


def _faults() -> tuple[type[Exception], ...]:
    """What the library raises for files that are missing, malformed or lack a field."""
    from kubernetes_asyncio.config import ConfigException

    plain = (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError)
    return (ConfigException, yaml.YAMLError, *plain)


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
