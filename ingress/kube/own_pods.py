"""The pods of this controller: our own, and those that carry the same labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from ingress.kube.client import KubeClient
from ingress.kube.errors import KubeError

__all__ = ["Owner", "Pod", "read_pod", "siblings_of"]

OF_ONE_REVISION: Final = frozenset(
    {
        "pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
    }
)
"""Labels that workload controllers add, and that differ between pods of one workload."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """``OwnerReference``."""

    kind: str
    name: str
    controller: bool = False


class PodMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``metadata`` of a Pod."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}
    owner_references: tuple[Owner, ...] = ()
    deletion_timestamp: str | None = None


class PodSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``PodSpec``."""

    node_name: str = ""


class PodStatus(msgspec.Struct, frozen=True, kw_only=True):
    """``PodStatus``."""

    phase: str = ""


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """A Pod, as far as it matters here."""

    metadata: PodMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def is_ending(self) -> bool:
        """It ended, or was told to."""
        return self.metadata.deletion_timestamp is not None or self.status.phase in ("Succeeded", "Failed")

    @property
    def is_running(self) -> bool:
        return self.status.phase == "Running" and not self.is_ending

    @property
    def owner(self) -> Owner | None:
        """The workload that keeps it alive."""
        return next((owner for owner in self.metadata.owner_references if owner.controller), None)


class _PodList(msgspec.Struct, frozen=True, kw_only=True):
    items: tuple[Pod, ...] | None = None


_pod_decoder: Final = msgspec.json.Decoder(Pod)
_list_decoder: Final = msgspec.json.Decoder(_PodList)


async def read_pod(client: KubeClient, namespace: str, name: str) -> Pod:
    """Raises :class:`KubeError`. Needs the right to get pods."""
    body = await client.get(f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}")
    try:
        return _pod_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise KubeError(f"the answer is no Pod: {error}") from error


async def siblings_of(client: KubeClient, pod: Pod) -> tuple[Pod, ...]:
    """All pods of its workload, itself among them. Raises :class:`KubeError`. Needs the right to list pods."""
    selector = common_labels(pod.metadata.labels)
    if not selector:
        return (pod,)
    text = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    body = await client.get(f"/api/v1/namespaces/{quote(pod.metadata.namespace)}/pods", {"labelSelector": text})
    try:
        return _list_decoder.decode(body).items or ()
    except msgspec.DecodeError as error:
        raise KubeError(f"the answer is no list of Pods: {error}") from error


def common_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Those that all pods of a workload share, whatever their revision."""
    return {key: value for key, value in labels.items() if key not in OF_ONE_REVISION}
