"""Size and speed of the control plane: ``python -m benchmarks.scale [--ingresses N] [--workers N] …``.

A made-up cluster is translated and published to real worker processes; then changes come in at a steady rate, mostly of
endpoints, some of Ingresses. Latency counts from the moment a change is due to the acknowledgement of every worker.
"""

from __future__ import annotations

import argparse
import asyncio

from benchmarks.scale.measure import Result, measure
from ingress.logs import configure_logs

__all__ = ["main"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ingresses", type=int, default=10_000, help="each with a Service")
    parser.add_argument("--endpoints", type=int, default=3, help="of each Service")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rate", type=float, default=100.0, help="changes per second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of changes")
    arguments = parser.parse_args()
    configure_logs("text", "warning")
    _show(
        asyncio.run(
            measure(
                ingresses=arguments.ingresses,
                endpoints=arguments.endpoints,
                workers=arguments.workers,
                rate=arguments.rate,
                seconds=arguments.seconds,
            )
        )
    )


def _show(result: Result) -> None:
    print(f"translation from scratch        {result.translated:8.2f} s CPU")
    print(f"live in every worker after      {result.started:8.2f} s")
    print(f"memory of the control process   {result.control_bytes / 2**20:8.0f} MiB")
    print(f"memory of a worker              {result.worker_bytes / 2**20:8.0f} MiB")
    for name, group in sorted(result.groups.items()):
        print(f"{name}: {len(group.latencies)} changes")
        for part, values in (("translate and publish", group.control), ("live in every worker", group.latencies)):
            ordered = sorted(values)
            median, tail = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
            print(f"  {part:<26} median {median * 1e3:6.2f} ms   p99 {tail * 1e3:6.2f} ms")
    print(f"CPU while changes came: control {result.control_cpu:.0%}, worker {result.worker_cpu:.0%} of a core")


if __name__ == "__main__":
    main()
