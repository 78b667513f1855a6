"""New inputs out of known ones: the same for the same seed, so that a failure comes again."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Final

__all__ = ["mutated", "seeds_of"]

SEEDS: Final = Path(__file__).parent / "seeds"
_ODD: Final = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b"\xff", b"\x80", b"\x7f", b" ", b"\t", b":", b";", b",", b"|"),
    *(b"%2e", b"%2F", b"..", b"//", b"0", b"-1", b"+1", b"ffffffffffffffff", b"18446744073709551616", b"chunked"),
    *(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Host: a\r\n"),
    *(b"HTTP/1.0", b"HTTP/1.1", b"Connection: close\r\n", b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"GET / HTTP/1.1\r\n", b"PROXY TCP4 ", b"PROXY UNKNOWN\r\n", b"::ffff:"),
    *(b"{", b"}", b"[", b"]", b"---\n", b"&a ", b"*a", b"<<: ", b"!!python", b"null", b"~", b"1e999"),
    *(b"\xe2\x80\xa8", b"$host", b"${", b"\\", b'"'),
)
"""What parsers trip over."""
_LONGEST: Final = 1 << 16


def seeds_of(target: str) -> list[bytes]:
    """The inputs that are kept for a target, in order of their names."""
    return [path.read_bytes() for path in sorted((SEEDS / target).iterdir())]


def mutated(seeds: list[bytes], random: Random) -> bytes:
    """One to six changes of one of ``seeds``."""
    data = bytearray(random.choice(seeds))
    for _ in range(random.randrange(1, 7)):
        at = random.randrange(len(data) + 1)
        end = min(len(data), at + random.randrange(1, 9))
        match random.randrange(9):
            case 0 if data:
                data[at % len(data)] ^= 1 << random.randrange(8)
            case 1:
                data[at:at] = random.randbytes(random.randrange(1, 5))
            case 2:
                del data[at:end]
            case 3:
                data[at:end] = random.choice(_ODD)
            case 4:
                data[at:at] = random.choice(_ODD)
            case 5:
                other = random.choice(seeds)
                cut = random.randrange(len(other) + 1)
                data[at:] = other[cut:]
            case 6:
                data[at:at] = data[at:end] * random.randrange(1, 20)
            case 7:
                del data[at:]
            case _:
                data[at:at] = random.choice(_ODD) * random.randrange(1, 200)
    return bytes(data[:_LONGEST])
