"""An emulated Kubernetes API server with the semantics that clients can see.

Start with :func:`api_server` in a test, or ``python -m tests.support.apiserver`` as a process. Objects are in
:mod:`storage`, HTTP in :mod:`http`; a new kind is one line in :mod:`kinds`.
"""

from __future__ import annotations

from tests.support.apiserver.access import ADMIN, Rule, User
from tests.support.apiserver.bulk import fill, ingress, service, slice_of
from tests.support.apiserver.failures import ApiError
from tests.support.apiserver.server import ApiServer, api_server, write_kubeconfig

__all__ = [
    "ADMIN",
    "ApiError",
    "ApiServer",
    "Rule",
    "User",
    "api_server",
    "fill",
    "ingress",
    "service",
    "slice_of",
    "write_kubeconfig",
]
