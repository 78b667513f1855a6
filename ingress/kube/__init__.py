"""The Kubernetes API: where it is, who we are to it, and requests as bytes. Knows no kinds and keeps no objects.

kubernetes-asyncio finds the cluster, refreshes credentials and holds the connections; its typed models are not used.
"""

from ingress.kube.client import MERGE_PATCH, KubeClient, ListPage
from ingress.kube.errors import KubeConfigError, KubeError, KubeUnreachable
from ingress.kube.identity import identity

__all__ = ["MERGE_PATCH", "KubeClient", "KubeConfigError", "KubeError", "KubeUnreachable", "ListPage", "identity"]
