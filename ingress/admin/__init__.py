"""The admin server: health, metrics, the table and the problems. Reads only; nothing can be changed through it."""

from ingress.admin.server import AdminServer
from ingress.admin.totals import Totals
from ingress.admin.view import View

__all__ = ["AdminServer", "Totals", "View"]
