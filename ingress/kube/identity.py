"""Who this process is among its replicas."""

from __future__ import annotations

import os
import socket

__all__ = ["identity"]


def identity() -> str:
    """The name of this pod: ``POD_NAME`` of the downward API, else the host name, which a pod shares by default."""
    return os.environ.get("POD_NAME") or socket.gethostname()
