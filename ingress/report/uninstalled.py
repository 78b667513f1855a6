"""Whether the controller is being taken away for good, or only this process ends.

For good means: this pod is being deleted, no other pod of the workload goes on, and the workload itself is gone, being
deleted, or scaled to zero. A rolling update, a restart, a drained node and a crash are none of that, and neither is
what we may not read: the addresses then stay.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import msgspec

from ingress.kube import KubeClient, KubeError
from ingress.kube.own_pods import Owner, Pod, read_pod, siblings_of

__all__ = ["is_uninstalled", "workload_of"]

PLURALS: Final = {
    "Deployment": "deployments",
    "DaemonSet": "daemonsets",
    "StatefulSet": "statefulsets",
    "ReplicaSet": "replicasets",
}


class _Meta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    deletion_timestamp: str | None = None


class _Spec(msgspec.Struct, frozen=True, kw_only=True):
    replicas: int | None = None


class _Workload(msgspec.Struct, frozen=True, kw_only=True):
    metadata: _Meta = _Meta()
    spec: _Spec = _Spec()


_decoder: Final = msgspec.json.Decoder(_Workload)


async def is_uninstalled(client: KubeClient, *, namespace: str, name: str) -> bool:
    """``namespace`` and ``name`` of our own pod. Raises :class:`KubeError` where something cannot be read: pods (get,
    list) and the workload (get)."""
    pod = await read_pod(client, namespace, name)
    if not pod.is_ending:
        return False
    others = (each for each in await siblings_of(client, pod) if each.metadata.name != name)
    if not all(each.is_ending for each in others):
        return False
    owner = workload_of(pod)
    if owner is None:  # a pod by itself, and it is being deleted
        return True
    if owner.kind not in PLURALS:
        return False
    return await _is_ending(client, namespace, owner)


def workload_of(pod: Pod) -> Owner | None:
    """What an operator installs and deletes. A ReplicaSet of a Deployment is called after it and its hash, so that it
    need not be read (nobody would think of granting that)."""
    owner = pod.owner
    if owner is None or owner.kind != "ReplicaSet":
        return owner
    suffix = "-" + pod.metadata.labels.get("pod-template-hash", "")
    if len(suffix) > 1 and owner.name.endswith(suffix):
        return Owner(kind="Deployment", name=owner.name.removesuffix(suffix), controller=True)
    return owner


async def _is_ending(client: KubeClient, namespace: str, owner: Owner) -> bool:
    path = f"/apis/apps/v1/namespaces/{quote(namespace)}/{PLURALS[owner.kind]}/{quote(owner.name)}"
    try:
        workload = _decoder.decode(await client.get(path))
    except KubeError as error:
        if error.status == 404:
            return True
        raise
    except msgspec.DecodeError as error:
        raise KubeError(f"the answer is no {owner.kind}: {error}") from error
    return workload.metadata.deletion_timestamp is not None or workload.spec.replicas == 0
