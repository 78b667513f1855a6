"""The composition root: builds the parts of the control process, wires them, and runs them until a signal."""

from ingress.app.control import App, StartError, serve

__all__ = ["App", "StartError", "serve"]
