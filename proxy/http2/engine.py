"""The frames: the h2 library, stricter where it is lenient, and more lenient where one stream's mistake would cost all.

What differs from the library as it is:

- Frame sizes are checked at the frame's head, header blocks while they come, not once they are here.
- HPACK errors are COMPRESSION_ERROR; a stream above the limit is refused, not an end of everything; a message that is
  malformed costs its stream (RFC 9113 section 8.1.1).
- GOAWAY, sent or received, lets the streams under way go on.
- Frames that carry nothing and streams begun for nothing are counted.
"""

from __future__ import annotations

from typing import Final

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.events import Event as LibraryEvent
from h2.exceptions import (
    DenialOfServiceError,
    FrameTooLargeError,
    InvalidBodyLengthError,
    ProtocolError,
    StreamClosedError,
)
from h2.frame_buffer import FrameBuffer
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream, StreamClosedBy, StreamInputs, StreamState
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from proxy.http2 import codes, events
from proxy.http2.joined import join_fields, take_path
from proxy.http2.limits import Limits, Patience

__all__ = ["Engine"]

_SETTINGS: Final = 0x4
_END_STREAM: Final = 0x1
_ACK: Final = 0x1
_PREFACE_LENGTH: Final = 24


class _Goaways(H2ConnectionStateMachine):
    """GOAWAY changes nothing for the streams that are there (RFC 9113 section 6.8)."""

    _transitions = H2ConnectionStateMachine._transitions | {
        (state, step): (None, state)
        for state in (ConnectionState.IDLE, ConnectionState.CLIENT_OPEN, ConnectionState.SERVER_OPEN)
        for step in (ConnectionInputs.SEND_GOAWAY, ConnectionInputs.RECV_GOAWAY)
    }


class _CompressionError(ProtocolError):
    error_code = ErrorCodes.COMPRESSION_ERROR


class _Frames(FrameBuffer):
    """Bounded before it buffers."""

    def __init__(self, limits: Limits, *, server: bool) -> None:
        super().__init__(server=server)
        self._limit = limits.max_header_block
        self._block = 0
        self.blocks = 0
        """Header blocks that ended."""

    @property
    def is_inside(self) -> bool:
        """A frame or a header block has begun and not ended."""
        return bool(self._data or self._headers_buffer or 0 < self._preamble_len < _PREFACE_LENGTH)

    def __next__(self) -> Frame:
        data = self._data
        if len(data) >= 5:
            length = data[0] << 16 | data[1] << 8 | data[2]
            if length > self.max_frame_size or (length and data[3] == _SETTINGS and data[4] & _ACK):
                raise FrameTooLargeError("frame above its size")
        return super().__next__()

    def _update_header_buffer(self, f: Frame | None) -> Frame | None:
        frame = super()._update_header_buffer(f)
        if self._headers_buffer:
            last = self._headers_buffer[-1]
            self._block = (self._block if isinstance(last, ContinuationFrame) else 0) + len(last.data)
            if self._block > self._limit:
                raise DenialOfServiceError("header block above the limit")
        elif isinstance(frame, HeadersFrame):
            self.blocks += 1
        return frame


class Engine(H2Connection):
    """``out`` collects what :mod:`proxy.http2.events` tells."""

    MAX_CLOSED_STREAMS = 1024
    """Streams whose end is remembered; 65,536 would be megabytes for each connection."""

    def __init__(self, limits: Limits, *, client: bool) -> None:
        super().__init__(
            H2Configuration(
                client_side=client,
                header_encoding=None,
                # Judged by proxy.http2.fields, in one pass and for the stream alone.
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.out: list[events.Event] = []
        self.patience = Patience()
        self._greeted = False
        self.refuses = False
        """We said GOAWAY."""
        self.last_accepted = 0
        """The last stream that we act on since."""
        self._limits = limits
        self.state_machine = _Goaways()
        self.incoming_buffer: _Frames = _Frames(limits, server=not client)
        initial: dict[int, int] = {
            SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window,
            SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_header_list,
        }
        if client:
            initial[SettingCodes.ENABLE_PUSH] = 0
        else:
            initial[SettingCodes.MAX_CONCURRENT_STREAMS] = limits.max_streams
            if limits.extended_connect:
                initial[SettingCodes.ENABLE_CONNECT_PROTOCOL] = 1
        self.local_settings = Settings(client=client, initial_values=initial)  # type: ignore[arg-type]  # codes are ints
        self.decoder.max_header_list_size = limits.max_header_list
        self.initiate_connection()
        self.increment_flow_control_window(limits.connection_window - self.inbound_flow_control_window)

    @property
    def unfinished_block(self) -> int:
        """See ``Http2Connection``."""
        frames = self.incoming_buffer
        return frames.blocks + 1 if frames.is_inside else 0

    # ---- receiving

    def _receive_frame(self, frame: Frame) -> list[LibraryEvent]:
        kind = frame.__class__
        if not self._greeted:
            # The preface ends with SETTINGS (RFC 9113 section 3.4).
            if kind is not SettingsFrame or "ACK" in frame.flags:
                raise ProtocolError("no SETTINGS in the preface")
            self._greeted = True
        if kind is DataFrame:
            assert isinstance(frame, DataFrame)
            if not frame.data and "END_STREAM" not in frame.flags:
                self._count_control()
        elif kind is not HeadersFrame and kind is not RstStreamFrame:
            self._count_control()
        super()._receive_frame(frame)
        return []

    def _terminate_connection(self, error_code: ErrorCodes) -> None:
        """The connection says GOAWAY, once, wherever the error came from."""

    def _count_control(self) -> None:
        if not self.patience.control():
            raise DenialOfServiceError("too many frames that carry nothing")

    def count_reset(self) -> None:
        """A stream was begun for nothing. Raises where that was one too many."""
        if not self.patience.reset():
            raise DenialOfServiceError("too many streams begun for nothing")

    def _receive_headers_frame(self, frame: HeadersFrame) -> tuple[list[Frame], list[LibraryEvent]]:
        # Whatever becomes of the stream, its block belongs to the compression context of the connection.
        try:
            fields = self.decoder.decode(frame.data, raw=True)
        except OversizedHeaderListError as error:
            raise DenialOfServiceError("header list above the limit") from error
        except (HPACKError, IndexError, ValueError) as error:
            raise _CompressionError("header block that does not decode") from error
        number = frame.stream_id
        self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        stream = self.streams.get(number)
        refuse = False
        if stream is None:
            if self.config.client_side:
                self._get_stream_by_id(number)
            refuse = self.open_inbound_streams >= self._limits.max_streams
            stream = self._begin_new_stream(number, AllowedStreamIDs.ODD)
        ended = "END_STREAM" in frame.flags
        if "PRIORITY" in frame.flags and frame.depends_on == number:
            # A stream that depends on itself (RFC 7540 section 5.3.1).
            self.fail_stream(stream, codes.PROTOCOL_ERROR)
            return [], []
        try:
            _, told = stream.receive_headers(fields, ended, None)
        except StreamClosedError:
            raise
        except ProtocolError:
            self.fail_stream(stream, codes.PROTOCOL_ERROR)
            return [], []
        if self.refuses and number > self.last_accepted:
            # Said to be not acted on: the peer sends it again elsewhere.
            self.close_stream(stream)
        elif refuse:
            self.close_stream(stream)
            self._prepare_for_sending([RstStreamFrame(number, error_code=codes.REFUSED_STREAM)])
            self.count_reset()
        else:
            self._tell_headers(type(told[0]).__name__, number, [(name, value) for name, value in fields], ended)
        return [], []

    def _tell_headers(self, kind: str, number: int, fields: events.Fields, ended: bool) -> None:
        if kind == "RequestReceived":
            path, others = take_path(fields)
            self.out.append(events.RequestReceived(number, path, join_fields(others), ended))
        elif kind == "TrailersReceived":
            self.out.append(events.TrailersReceived(number, fields))
        elif kind == "InformationalResponseReceived":
            self.out.append(events.InformationalReceived(number, fields))
        else:
            self.out.append(events.HeadersReceived(number, fields, ended))

    def _receive_data_frame(self, frame: DataFrame) -> tuple[list[Frame], list[LibraryEvent]]:
        size = frame.flow_controlled_length
        number = frame.stream_id
        stream = self.streams.get(number)
        if stream is None or stream.closed:
            if stream is None and self._stream_id_is_outbound(number) == self.config.client_side:
                # Idle streams raise here; others were closed before.
                self._get_stream_by_id_or_closed(number)
            self._inbound_flow_control_window_manager.window_consumed(size)
            self.release_connection(size)
            if self._stream_is_closed_by_end(number):
                raise StreamClosedError(number)
            self._count_control()
            if self._stream_closed_by(number) is StreamClosedBy.RECV_RST_STREAM:
                self._prepare_for_sending([RstStreamFrame(number, error_code=codes.STREAM_CLOSED)])
            # Else the peer may not know yet that we reset it.
            return [], []
        self._inbound_flow_control_window_manager.window_consumed(size)
        ended = "END_STREAM" in frame.flags
        try:
            stream.receive_data(frame.data, ended, size)
        except StreamClosedError:
            # Behind the end of the stream (RFC 9113 section 5.1): the library has marked it as reset by now.
            self.release_connection(size)
            self._prepare_for_sending([RstStreamFrame(number, error_code=codes.STREAM_CLOSED)])
            self.out.append(events.StreamReset(number, codes.STREAM_CLOSED, by_peer=False))
            self.count_reset()
            return [], []
        except InvalidBodyLengthError:
            self.release_connection(size)
            self.fail_stream(stream, codes.PROTOCOL_ERROR)
            return [], []
        if size:
            self.out.append(events.DataReceived(number, bytes(frame.data), size))
        if ended:
            self.out.append(events.StreamEnded(number))
        return [], []

    def _get_stream_by_id_or_closed(self, number: int) -> None:
        try:
            self._get_stream_by_id(number)
        except StreamClosedError:
            return

    def _receive_rst_stream_frame(self, frame: RstStreamFrame) -> tuple[list[Frame], list[LibraryEvent]]:
        stream = self.streams.get(frame.stream_id)
        if stream is None:
            self._get_stream_by_id_or_closed(frame.stream_id)
            self._count_control()
        elif stream.closed:
            self._count_control()
        else:
            stream.stream_reset(frame)
            self.out.append(events.StreamReset(frame.stream_id, frame.error_code, by_peer=True))
            self.count_reset()
        return [], []

    def _receive_settings_frame(self, frame: SettingsFrame) -> tuple[list[Frame], list[LibraryEvent]]:
        frames, _ = super()._receive_settings_frame(frame)
        if "ACK" not in frame.flags:
            self.out.append(events.SettingsReceived())
        return frames, []

    def _receive_window_update_frame(self, frame: WindowUpdateFrame) -> tuple[list[Frame], list[LibraryEvent]]:
        frames, told = super()._receive_window_update_frame(frame)
        if frames:
            # Only a window above its maximum makes it answer, and that with a reset.
            self.out.append(events.StreamReset(frame.stream_id, codes.FLOW_CONTROL_ERROR, by_peer=False))
            self.count_reset()
        return frames, told

    def _receive_ping_frame(self, frame: PingFrame) -> tuple[list[Frame], list[LibraryEvent]]:
        if "ACK" in frame.flags:
            self.out.append(events.PingAnswered(frame.opaque_data))
        return super()._receive_ping_frame(frame)

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[LibraryEvent]]:
        self.out.append(events.GoAwayReceived(frame.last_stream_id, frame.error_code))
        return [], []

    # ---- ends of streams

    def close_stream(self, stream: H2Stream) -> None:
        """Forget a stream as one that we reset."""
        machine = stream.state_machine
        machine.state = StreamState.CLOSED
        machine.stream_closed_by = StreamClosedBy.SEND_RST_STREAM

    def fail_stream(self, stream: H2Stream, code: int) -> None:
        """Reset a stream for a mistake of the peer. Raises where there were too many."""
        self.close_stream(stream)
        self._prepare_for_sending([RstStreamFrame(stream.stream_id, error_code=code)])
        self.out.append(events.StreamReset(stream.stream_id, code, by_peer=False))
        self.count_reset()

    # ---- sending

    def release_connection(self, size: int) -> None:
        """Give back bytes of the connection's window alone."""
        increment = self._inbound_flow_control_window_manager.process_bytes(size)
        if increment:
            frame = WindowUpdateFrame(0)
            frame.window_increment = increment
            self._prepare_for_sending([frame])

    def send_window(self, stream: H2Stream) -> int:
        """Bytes that may be sent on ``stream`` now; may be below zero (RFC 9113 section 6.9.2)."""
        return min(stream.outbound_flow_control_window, self.outbound_flow_control_window)

    def write_data(self, stream: H2Stream, data: bytes | memoryview, *, end: bool) -> None:
        """One DATA frame, within window and frame size."""
        size = len(data)
        self._data_to_send += b"%b\x00%c%b" % (
            size.to_bytes(3, "big"),
            _END_STREAM if end else 0,
            stream.stream_id.to_bytes(4, "big"),
        )
        self._data_to_send += data
        stream.outbound_flow_control_window -= size
        self.outbound_flow_control_window -= size
        self.patience.data_sent(size)
        if end:
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)

    def write_goaway(self, code: int, last_stream: int) -> None:
        """Say that streams above ``last_stream`` are not acted on."""
        self._prepare_for_sending([GoAwayFrame(0, last_stream_id=last_stream, error_code=code)])
