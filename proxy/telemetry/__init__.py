"""What the proxy tells about itself: counters for metrics, and the access log.

Plain integers and lists, touched by the event loop's thread alone; no clock is read here.
"""

from proxy.telemetry.access_log import AccessLog
from proxy.telemetry.counters import RouteCounters, Telemetry

__all__ = ["AccessLog", "RouteCounters", "Telemetry"]
