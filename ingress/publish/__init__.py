"""Bringing the table to the workers: listening sockets, worker processes, and the feed of deltas to each.

Knows nothing of Kubernetes objects; it takes tables.
"""

from ingress.publish.certificate import self_signed, with_default_certificate
from ingress.publish.feed import Feed, FeedListener, Publisher
from ingress.publish.quota import worker_count
from ingress.publish.sockets import Listener, ListenError, listen, open_listeners
from ingress.publish.supervisor import Supervisor, Worker

__all__ = [
    "Feed",
    "FeedListener",
    "ListenError",
    "Listener",
    "Publisher",
    "Supervisor",
    "Worker",
    "listen",
    "open_listeners",
    "self_signed",
    "with_default_certificate",
    "worker_count",
]
