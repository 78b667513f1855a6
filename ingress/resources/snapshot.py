"""All objects at one moment: the input of translation."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ingress.resources.core import Endpoints, Secret, Service
from ingress.resources.discovery import EndpointSlice
from ingress.resources.networking import Ingress, IngressClass

__all__ = ["Key", "Snapshot"]

Key = tuple[str, str]
"""Namespace and name; the namespace is empty for cluster-scoped kinds."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Maps by namespace and name. Their order carries no meaning."""

    ingresses: Mapping[Key, Ingress] = {}
    ingress_classes: Mapping[Key, IngressClass] = {}
    services: Mapping[Key, Service] = {}
    endpoint_slices: Mapping[Key, EndpointSlice] = {}
    endpoints: Mapping[Key, Endpoints] = {}
    secrets: Mapping[Key, Secret] = {}
