"""Constants of HTTP/2: error codes (RFC 9113 section 7), and what they are called in logs."""

from typing import Final

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
SETTINGS_TIMEOUT: Final = 0x4
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
CONNECT_ERROR: Final = 0xA
ENHANCE_YOUR_CALM: Final = 0xB
INADEQUATE_SECURITY: Final = 0xC
HTTP_1_1_REQUIRED: Final = 0xD

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (RFC 9113 section 3.4)."""

_REASONS: Final = {
    FLOW_CONTROL_ERROR: "Http2FlowControlError",
    STREAM_CLOSED: "Http2StreamClosed",
    FRAME_SIZE_ERROR: "Http2FrameSizeError",
    COMPRESSION_ERROR: "Http2CompressionError",
    ENHANCE_YOUR_CALM: "Http2Flood",
}


def reason(code: int) -> str:
    """Why a connection failed, as a short CamelCase word."""
    return _REASONS.get(code, "Http2ProtocolError")
