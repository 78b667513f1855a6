"""``python -m tests.support.pod_backend ADDRESS PORT``: a backend in a pod, for tests that run it in a namespace.

``GET /big`` gives :data:`BIG` bytes; ``POST`` answers with the SHA-256 of what came; anything else answers with the
request's X-Forwarded-For, and the address that the connection came from.
"""

from __future__ import annotations

import hashlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["BIG", "PATTERN", "digest_of_big"]

BIG = 8 * 1024 * 1024
PATTERN = bytes(range(251)) * 261
"""65,511 bytes: no power of two, so that lost or doubled segments show."""


def digest_of_big() -> str:
    """SHA-256 of the body of ``/big``, in hex."""
    return hashlib.sha256((PATTERN * (BIG // len(PATTERN) + 1))[:BIG]).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/big":
            self._answer((PATTERN * (BIG // len(PATTERN) + 1))[:BIG])
        else:
            self._answer(f"{self.headers['X-Forwarded-For']} {self.client_address[0]}".encode())

    def do_POST(self) -> None:
        left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        while left:
            piece = self.rfile.read(min(left, 65536))
            left -= len(piece)
            digest.update(piece)
        self._answer(digest.hexdigest().encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: the test asks by HTTP."""


if __name__ == "__main__":
    server = ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
    print("listening", flush=True)
    server.serve_forever()
