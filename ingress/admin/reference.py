"""``python -m ingress.admin.reference > docs/metrics.md``: the page of all metrics, from the catalogue."""

from __future__ import annotations

import sys

from ingress.admin.catalogue import METRICS
from proxy.table.feed import DURATION_BOUNDS

__all__ = ["metrics_page"]

_HEAD = """# Metrics

On `--admin-port`, path `/metrics`, in the text format of Prometheus. Made from `ingress/admin/catalogue.py` by
`make docs`; a test keeps it equal.

Names and labels are those of ingress-nginx with `pyngress_` for `nginx_ingress_controller_`, where it has the metric;
its counter `requests` is `pyngress_requests_total` here. Label values come from Ingress objects, never from requests.
Counters are sums over all workers and survive the end of a worker. Routes that are gone keep their series for ten
minutes.
"""


def metrics_page() -> str:
    """The page as Markdown."""
    lines = [_HEAD, "| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.full_name}` | {metric.kind} | {labels} | {metric.help} |")
    bounds = ", ".join(f"{bound:g}" for bound in DURATION_BOUNDS)
    lines += [
        "",
        f"Buckets of the histograms, in seconds: {bounds}.",
        "",
        "Of the control process there are the usual `process_*` metrics; of each worker the same as",
        "`pyngress_worker_process_*` with the label `worker`.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
