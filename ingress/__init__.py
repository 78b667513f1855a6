"""The control plane: the only part of Pyngress that knows Kubernetes.

It reads objects, translates them to the routing table of :mod:`proxy.table`, and feeds that table to workers.
"""
