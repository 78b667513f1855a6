"""A single request, to see that a proxy does its work before it is loaded."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass

from benchmarks.load.scenarios import HOST, Scenario

__all__ = ["Probe", "probe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One answer."""

    status: int
    body_bytes: int
    cipher: str
    """TLS version and cipher suite; empty without TLS."""


def probe(scenario: Scenario, *, port: int, host: str = HOST) -> Probe:
    """Sends the scenario's request once, as HTTP/1.1 whatever the load will speak.

    Raises ``OSError`` when there is no proper answer.
    """
    connection = http.client.HTTPConnection(host, timeout=5)
    plain = socket.create_connection(("127.0.0.1", port), timeout=5)
    try:
        connection.sock = _encrypted(plain) if scenario.tls else plain
        cipher = connection.sock.cipher() if isinstance(connection.sock, ssl.SSLSocket) else None
        connection.request(scenario.method, scenario.path, body=b"u" * scenario.request_bytes or None)
        answer = connection.getresponse()
        return Probe(
            status=answer.status,
            body_bytes=len(answer.read()),
            cipher=f"{cipher[1]} {cipher[0]}" if cipher else "",
        )
    except http.client.HTTPException as error:
        raise OSError(f"no proper answer: {error!r}") from error
    finally:
        connection.close()
        plain.close()


def _encrypted(plain: socket.socket) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate is our own, and wrk does not verify it either
    return context.wrap_socket(plain, server_hostname=HOST)
