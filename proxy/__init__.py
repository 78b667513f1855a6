"""The data plane: a streaming HTTP proxy driven by a routing table.

It knows nothing of Kubernetes and runs alone from a table file: ``python -m proxy --table routes.json``.
"""
