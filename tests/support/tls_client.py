"""A TLS client made of messages (tlslite-ng), for hellos and records that OpenSSL would not send."""

from __future__ import annotations

import asyncio
import socket
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

with warnings.catch_warnings():
    # It looks for asyncore, too.
    warnings.simplefilter("ignore", DeprecationWarning)
    from tlslite import constants, extensions, messages
    from tlslite.errors import TLSRemoteAlert
    from tlslite.handshakesettings import HandshakeSettings
    from tlslite.tlsconnection import TLSConnection
    from tlslite.utils.codec import Writer

from tests.support.clients import within
from tests.support.proxy import HOST

__all__ = [
    "ALERTS",
    "TLS_1_2",
    "TLS_1_3",
    "Talk",
    "extension",
    "hello",
    "hello_record",
    "key_update",
    "opening_answer",
    "record",
    "server_name",
    "talking",
]

Result = TypeVar("Result")

TLS_1_2: Final = (3, 3)
TLS_1_3: Final = (3, 4)
CIPHERS: Final = (0xC02B, 0xC02F, 0xC02C, 0xC030)
"""ECDHE with AES-GCM, for keys on curves and of RSA."""
ALERTS: Final = {
    number: name for name, number in vars(constants.AlertDescription).items() if isinstance(number, int)
} | {116: "certificate_required", 120: "no_application_protocol"}
TIMEOUT: Final = 5.0


def extension(kind: int, data: bytes) -> Any:
    """One with any content."""
    return extensions.TLSExtension(extType=kind).create(kind, bytearray(data))


def server_name(*names: bytes, kind: int = 0) -> Any:
    """The extension of server names (RFC 6066 section 3), however many and of whatever kind."""
    writer = Writer()
    for name in names:
        writer.add(kind, 1)
        writer.addVarSeq(bytearray(name), 1, 2)
    return extension(0, len(writer.bytes).to_bytes(2, "big") + bytes(writer.bytes))


def hello(
    *more: Any,
    version: tuple[int, int] = TLS_1_2,
    ciphers: Sequence[int] = CIPHERS,
    compressions: Sequence[int] = (0,),
    session: bytes = b"",
    name: Any = None,
) -> bytes:
    """A ClientHello of TLS 1.2 with ``more`` extensions; ``name``: that of the server name, if not the usual one."""
    kinds = [
        server_name(HOST.encode()) if name is None else name,
        extensions.SupportedGroupsExtension().create([29, 23]),
        extensions.SignatureAlgorithmsExtension().create([(4, 3), (8, 4), (4, 1)]),
        *more,
    ]
    made = messages.ClientHello().create(
        version, bytearray(range(32)), bytearray(session), list(ciphers), extensions=kinds
    )
    made.compression_methods = list(compressions)
    return bytes(made.write())


def record(kind: int, data: bytes, version: tuple[int, int] = TLS_1_2) -> bytes:
    """A record without encryption."""
    return bytes((kind, *version)) + len(data).to_bytes(2, "big") + data


def hello_record(*more: Any, **parts: Any) -> bytes:
    """:func:`hello` in its record."""
    return record(22, hello(*more, **parts))


def opening_answer(data: bytes) -> str:
    """What a server answered a hello with: ``hello``, the name of its alert, ``closed``, or ``?``."""
    if not data:
        return "closed"
    if data[0] == 22 and data[5] == 2:
        return "hello"
    if data[0] == 21 and len(data) == 7:
        return ALERTS[data[6]]
    return "?"


class Talk:
    """An established connection. Blocks, so each step runs in a thread."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def do(self, step: Callable[[Any], Result]) -> Result:
        """``step`` with the connection."""
        return await within(asyncio.to_thread(step, self.connection))

    async def send(self, message: Any) -> None:
        """A message of tlslite-ng, or ``(content type, bytes)``, encrypted."""
        if isinstance(message, tuple):
            message = messages.Message(message[0], bytearray(message[1]))
        await self.do(lambda connection: list(connection._sendMsg(message)))

    async def write_raw(self, data: bytes) -> None:
        """Bytes as they are."""
        await self.do(lambda connection: connection.sock.socket.sendall(data))

    async def ask(self, request: bytes) -> bytes:
        """The first bytes of the answer to a request."""
        await self.do(lambda connection: connection.write(bytearray(request)))
        return await self.do(lambda connection: bytes(connection.read(65536, 1)))

    async def end(self) -> str:
        """How the connection ends: the name of an alert, or ``closed``."""
        try:
            while await self.do(lambda connection: bytes(connection.read(65536, 1))):
                pass
        except TLSRemoteAlert as alert:
            return ALERTS[alert.description]
        except Exception:
            # tlslite-ng has an error for each way to close.
            return "closed"
        return "closed"

    def close(self) -> None:
        self.connection.sock.close()


def key_update(connection: Any) -> None:
    """Renew the keys, and ask the server to (a step for :meth:`Talk.do`)."""
    for _ in connection.send_keyupdate_request(constants.KeyUpdateMessageType.update_requested):
        pass


async def talking(port: int, version: tuple[int, int], **settings: Any) -> Talk:
    """A connection after its handshake. Raises TLSRemoteAlert."""

    def shake_hands() -> Any:
        connection = TLSConnection(socket.create_connection(("127.0.0.1", port), TIMEOUT))
        wanted = HandshakeSettings()
        wanted.minVersion = wanted.maxVersion = version
        for name, value in settings.items():
            setattr(wanted, name, value)
        try:
            connection.handshakeClientCert(serverName=HOST, settings=wanted, alpn=[bytearray(b"http/1.1")])
        except BaseException:
            connection.sock.close()
            raise
        return connection

    return Talk(await within(asyncio.to_thread(shake_hands)))
