"""What is asked of the control process over HTTP.

The admin server: health, metrics, the table and the problems; nothing can be changed through it. The admission webhook:
the API server's questions.
"""

from ingress.admin.server import AdminServer
from ingress.admin.totals import Totals
from ingress.admin.view import ClusterView, View
from ingress.admin.webhook import WebhookCounts, WebhookServer

__all__ = ["AdminServer", "ClusterView", "Totals", "View", "WebhookCounts", "WebhookServer"]
