"""Where objects come from; the only reader of the world. Everything below it is pure."""

from ingress.watch.cluster import ClusterSource
from ingress.watch.files import ManifestFolder, load, watch
from ingress.watch.store import Loaded, assemble

__all__ = ["ClusterSource", "Loaded", "ManifestFolder", "assemble", "load", "watch"]
