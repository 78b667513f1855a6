"""Telling people what became of their objects."""

from ingress.report.problem_log import ProblemLog

__all__ = ["ProblemLog"]
