"""Where objects come from; the only reader of the world. Everything below it is pure."""

from ingress.watch.addresses import AddressSource
from ingress.watch.cluster import ClusterSource
from ingress.watch.files import load
from ingress.watch.folder import FolderSource
from ingress.watch.source import Source, Take

__all__ = ["AddressSource", "ClusterSource", "FolderSource", "Source", "Take", "load"]
