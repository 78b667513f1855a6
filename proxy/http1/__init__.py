"""The HTTP/1.1 codec: bytes to heads and bodies and back. No sockets.

llhttp (through httptools) reads every head and every chunk. This package cuts the stream into those pieces first, so
that the end of each message is known to the byte and nothing behind it is ever parsed in its name.
"""
