"""The routing table: the language in which the proxy is told what to do.

The proxy owns this language; the control plane writes it. Every value is frozen; a change is a new value, moved as a
:class:`~proxy.table.feed.Delta` of the keys that changed.
"""

from proxy.table.model import (
    AccessLogFormat,
    Balance,
    BalanceMethod,
    Certificate,
    Cluster,
    Endpoint,
    Forward,
    HashPart,
    Host,
    HostPattern,
    Labels,
    PathKind,
    Policy,
    Respond,
    Route,
    RouteAction,
    Settings,
    Table,
)

__all__ = [
    "AccessLogFormat",
    "Balance",
    "BalanceMethod",
    "Certificate",
    "Cluster",
    "Endpoint",
    "Forward",
    "HashPart",
    "Host",
    "HostPattern",
    "Labels",
    "PathKind",
    "Policy",
    "Respond",
    "Route",
    "RouteAction",
    "Settings",
    "Table",
]
