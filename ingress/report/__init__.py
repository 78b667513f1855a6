"""Telling people what became of their objects: in the log, in statuses, by Events. The only writer to the API."""

from ingress.report.problem_log import ProblemLog
from ingress.report.reporter import Reporter

__all__ = ["ProblemLog", "Reporter"]
