"""The command line: flags, commands and text for people. Knows every other part, and no other part knows it."""

from ingress.cli.main import main

__all__ = ["main"]
