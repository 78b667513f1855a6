"""The worker process: inherited sockets, one event loop, and the feed that tells it what to serve."""
