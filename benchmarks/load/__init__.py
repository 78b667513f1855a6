"""CPU time per proxied request, Pyngress beside its peers: ``python -m benchmarks.load``.

Rules:

1. One proxy runs at a time, alone on one core; client and backend share another one.
2. A figure is CPU time of the proxy's whole process tree, as the kernel counted it, per request the client counted.
3. Every peer does the same work: one thread, keep-alive to the backend, route by host, forwarding headers, no log.
4. A run with a single failed request, or whose requests did not reach the backend, is no result.
"""
