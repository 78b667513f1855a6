"""``python -m tests.support.quick run …``: ``pyngress`` with short clocks, where a test would wait for the long ones.

A watch counts as lost after ``INACTIVITY`` seconds without a byte, and a Lease runs out after ``LEASE`` seconds.
"""

from __future__ import annotations

import msgspec

import ingress.watch.cluster
from ingress.cli import main
from ingress.report.election import LeaderElection
from ingress.watch.pace import Pace

INACTIVITY = 3.0
"""Seconds; the emulated server sends bookmarks each second."""
LEASE = 3
"""Seconds."""


def shorten() -> None:
    """Before anything of the controller is made."""
    pace = msgspec.structs.replace(Pace(), inactivity=INACTIVITY, longest_wait=1.0)
    # The name under which the source makes its pace where none is given.
    assert "Pace" in vars(ingress.watch.cluster)
    vars(ingress.watch.cluster)["Pace"] = lambda: pace
    defaults = LeaderElection.__init__.__kwdefaults__
    assert defaults is not None
    assert {"lease_duration", "renew_deadline", "retry_period"} <= defaults.keys()
    defaults |= {"lease_duration": LEASE, "renew_deadline": LEASE * 0.66, "retry_period": 0.4}


if __name__ == "__main__":
    shorten()
    main()
