# cython: language_level=3, binding=True
"""``Http2Connection`` on libnghttp2: frames, HPACK and streams in C; the contract is that of proxy.http2.connection.

What the library does not do is done here: frames that carry nothing and streams begun for nothing are counted, header
lists and blocks are bounded, Content-Length is compared with the body. It judges no fields: proxy.http2.fields does.

How a callback ends well: it never raises through the library. What it raised waits in ``_error``, what the peer broke
in ``_fatal``; either makes the library stop, and ``receive`` or ``_pump`` act on it.

Where the library is stricter or more lenient than the pure build is told in tests/playbook/test_http2.py.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy

from collections import deque

from proxy.http2 import codes
from proxy.http2.events import (
    ConnectionFailed,
    DataReceived,
    Drained,
    GoAwayReceived,
    HeadersReceived,
    InformationalReceived,
    PingAnswered,
    RequestReceived,
    SettingsReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from proxy.http2.joined import split_fields
from proxy.http2.limits import Limits, Patience

__all__ = ["LIBRARY", "SOURCE", "Http2Connection", "sort_out"]

cdef extern from *:
    """
    #define PYNGRESS_STRING_(text) #text
    #define PYNGRESS_STRING(text) PYNGRESS_STRING_(text)
    static const char pyngress_source[] = PYNGRESS_STRING(PYNGRESS_SOURCE);
    """
    const char *pyngress_source


cdef extern from "nghttp2/nghttp2.h":
    ctypedef struct nghttp2_session:
        pass
    ctypedef struct nghttp2_session_callbacks:
        pass
    ctypedef struct nghttp2_option:
        pass
    ctypedef struct nghttp2_info:
        const char *version_str
    ctypedef struct nghttp2_nv:
        uint8_t *name
        uint8_t *value
        size_t namelen
        size_t valuelen
        uint8_t flags
    ctypedef struct nghttp2_settings_entry:
        int32_t settings_id
        uint32_t value
    ctypedef struct nghttp2_frame_hd:
        size_t length
        int32_t stream_id
        uint8_t type
        uint8_t flags
    ctypedef struct nghttp2_headers:
        int cat
    ctypedef struct nghttp2_rst_stream:
        uint32_t error_code
    ctypedef struct nghttp2_ping:
        uint8_t opaque_data[8]
    ctypedef struct nghttp2_goaway:
        int32_t last_stream_id
        uint32_t error_code
    ctypedef union nghttp2_frame:
        nghttp2_frame_hd hd
        nghttp2_headers headers
        nghttp2_rst_stream rst_stream
        nghttp2_ping ping
        nghttp2_goaway goaway
    ctypedef union nghttp2_data_source:
        void *ptr
    ctypedef ssize_t (*nghttp2_data_source_read_callback)(
        nghttp2_session *, int32_t, uint8_t *, size_t, uint32_t *, nghttp2_data_source *, void *
    ) noexcept
    ctypedef struct nghttp2_data_provider:
        nghttp2_data_source source
        nghttp2_data_source_read_callback read_callback
    ctypedef int (*on_frame)(nghttp2_session *, const nghttp2_frame *, void *) noexcept
    ctypedef int (*on_header)(
        nghttp2_session *, const nghttp2_frame *, const uint8_t *, size_t, const uint8_t *, size_t, uint8_t, void *
    ) noexcept
    ctypedef int (*on_chunk)(nghttp2_session *, uint8_t, int32_t, const uint8_t *, size_t, void *) noexcept
    ctypedef int (*on_close)(nghttp2_session *, int32_t, uint32_t, void *) noexcept

    enum:
        NGHTTP2_DATA, NGHTTP2_HEADERS, NGHTTP2_RST_STREAM, NGHTTP2_SETTINGS, NGHTTP2_PING, NGHTTP2_GOAWAY
        NGHTTP2_CONTINUATION
        NGHTTP2_FLAG_NONE, NGHTTP2_FLAG_END_STREAM, NGHTTP2_FLAG_END_HEADERS, NGHTTP2_FLAG_ACK
        NGHTTP2_DATA_FLAG_EOF, NGHTTP2_DATA_FLAG_NO_END_STREAM
        NGHTTP2_HCAT_REQUEST
        NGHTTP2_NV_FLAG_NONE
        NGHTTP2_SETTINGS_ENABLE_PUSH, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL
        NGHTTP2_ERR_DEFERRED, NGHTTP2_ERR_CALLBACK_FAILURE, NGHTTP2_ERR_NOMEM, NGHTTP2_ERR_BAD_CLIENT_MAGIC
        NGHTTP2_ERR_FLOODED

    nghttp2_info *nghttp2_version(int least)
    const char *nghttp2_strerror(int code)
    int nghttp2_option_new(nghttp2_option **)
    void nghttp2_option_set_no_auto_window_update(nghttp2_option *, int)
    void nghttp2_option_set_no_http_messaging(nghttp2_option *, int)
    void nghttp2_option_set_max_send_header_block_length(nghttp2_option *, size_t)
    void nghttp2_option_set_no_auto_ping_ack(nghttp2_option *, int)
    void nghttp2_option_set_max_continuations(nghttp2_option *, size_t)
    void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *, uint64_t, uint64_t)
    void nghttp2_option_set_max_outbound_ack(nghttp2_option *, size_t)
    int nghttp2_session_callbacks_new(nghttp2_session_callbacks **)
    void nghttp2_session_callbacks_set_on_begin_headers_callback(nghttp2_session_callbacks *, on_frame)
    void nghttp2_session_callbacks_set_on_header_callback(nghttp2_session_callbacks *, on_header)
    void nghttp2_session_callbacks_set_on_frame_recv_callback(nghttp2_session_callbacks *, on_frame)
    void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(nghttp2_session_callbacks *, on_chunk)
    void nghttp2_session_callbacks_set_on_stream_close_callback(nghttp2_session_callbacks *, on_close)
    void nghttp2_session_callbacks_set_before_frame_send_callback(nghttp2_session_callbacks *, on_frame)
    int nghttp2_session_server_new2(nghttp2_session **, nghttp2_session_callbacks *, void *, nghttp2_option *)
    int nghttp2_session_client_new2(nghttp2_session **, nghttp2_session_callbacks *, void *, nghttp2_option *)
    void nghttp2_session_del(nghttp2_session *)
    ssize_t nghttp2_session_mem_recv(nghttp2_session *, const uint8_t *, size_t)
    ssize_t nghttp2_session_mem_send(nghttp2_session *, const uint8_t **)
    int nghttp2_session_set_local_window_size(nghttp2_session *, uint8_t, int32_t, int32_t)
    int nghttp2_session_consume(nghttp2_session *, int32_t, size_t)
    int nghttp2_session_resume_data(nghttp2_session *, int32_t)
    int nghttp2_session_check_request_allowed(nghttp2_session *)
    int32_t nghttp2_session_get_last_proc_stream_id(nghttp2_session *)
    uint32_t nghttp2_session_get_remote_settings(nghttp2_session *, int)
    int nghttp2_submit_settings(nghttp2_session *, uint8_t, const nghttp2_settings_entry *, size_t)
    int32_t nghttp2_submit_headers(
        nghttp2_session *, uint8_t, int32_t, const void *, const nghttp2_nv *, size_t, void *
    )
    int nghttp2_submit_data(nghttp2_session *, uint8_t, int32_t, const nghttp2_data_provider *)
    int nghttp2_submit_trailer(nghttp2_session *, int32_t, const nghttp2_nv *, size_t)
    int nghttp2_submit_rst_stream(nghttp2_session *, uint8_t, int32_t, uint32_t)
    int nghttp2_submit_ping(nghttp2_session *, uint8_t, const uint8_t *)
    int nghttp2_submit_goaway(nghttp2_session *, uint8_t, int32_t, uint32_t, const uint8_t *, size_t)
    int nghttp2_submit_shutdown_notice(nghttp2_session *)


SOURCE = pyngress_source.decode()
"""The SHA-256 of the source that this was built from."""
LIBRARY = nghttp2_version(0).version_str.decode()
"""The version of libnghttp2 that is in use."""

cdef enum:
    FIELDS_ON_STACK = 64
    HEAD = 9
    PREFACE_LENGTH = 24
    FIELD_COST = 32  # RFC 9113 section 6.5.2
    REMEMBERED = 2048  # bytes of a request's fields
    KEPT = 65536  # bytes of the buffer that are kept once it is empty
    ALL_STREAMS = 0x7FFFFFFF
    NO_LENGTH = -1
    BAD_LENGTH = -2
    WINDOW_AT_FIRST = 65535

cdef uint32_t NO_ERROR = codes.NO_ERROR
cdef uint32_t PROTOCOL_ERROR = codes.PROTOCOL_ERROR
cdef uint32_t ENHANCE_YOUR_CALM = codes.ENHANCE_YOUR_CALM
cdef uint32_t REFUSED_STREAM = codes.REFUSED_STREAM

cdef const char *STATUS = b":status"
cdef const char *PING_ANSWER = b"\x00\x00\x08\x06\x01\x00\x00\x00\x00"
cdef nghttp2_session_callbacks *CALLBACKS = NULL
cdef nghttp2_option *OPTIONS = NULL


cdef class _Stream:
    """One that something may still be sent or received on."""

    cdef object parts
    cdef Py_ssize_t offset  # within the first part
    cdef Py_ssize_t size  # of all parts, without what the offset skips
    cdef bint end
    cdef list trailers
    cdef bint attached  # the library asks for data, or will
    cdef bint deferred  # it was told to wait
    cdef bint waited  # the caller knows that something waits
    cdef bint headed  # the final response came
    cdef bint bodiless  # the answer to HEAD
    cdef long long expected  # Content-Length, or NO_LENGTH
    cdef long long received

    def __cinit__(self):
        self.expected = NO_LENGTH


cdef class Http2Connection:
    """See :class:`proxy.http2.connection.Http2Connection`."""

    cdef nghttp2_session *_session
    cdef readonly object limits
    cdef readonly bint failed
    cdef readonly long long peer_last_stream
    cdef bint _client
    cdef bint _held
    cdef object _patience
    cdef dict _streams
    cdef list _out
    # what broke
    cdef object _error
    cdef long long _fatal  # -1: nothing
    cdef bint _saying_goaway
    # the header list that is being received: of a request in one piece, else field by field
    cdef bint _is_request
    cdef bint _past_pseudo
    cdef bytes _path
    cdef uint8_t *_joined
    cdef Py_ssize_t _joined_size
    cdef Py_ssize_t _joined_room
    cdef bytes _last_joined
    cdef list _fields
    cdef Py_ssize_t _list_size
    cdef Py_ssize_t _list_limit
    cdef long long _content_length
    # where in the frames the bytes received end
    cdef int _preface
    cdef uint8_t _head[HEAD]
    cdef int _head_size
    cdef Py_ssize_t _left
    cdef bint _in_block
    cdef Py_ssize_t _block_size
    cdef Py_ssize_t _block_limit
    cdef long long _blocks
    # what is to be written
    cdef uint8_t *_buffer
    cdef Py_ssize_t _buffered
    cdef Py_ssize_t _capacity

    def __init__(self, *, client, limits=None):
        if self._session is not NULL:
            raise RuntimeError("made twice")
        self.limits = limits = limits or Limits()
        self.peer_last_stream = ALL_STREAMS
        self._client = client
        self._patience = Patience()
        self._streams = {}
        self._out = []
        self._fatal = -1
        self._fields = []
        self._last_joined = b""
        self._list_limit = limits.max_header_list
        self._block_limit = limits.max_header_block
        self._preface = 0 if client else PREFACE_LENGTH
        cdef int failure
        if client:
            failure = nghttp2_session_client_new2(&self._session, CALLBACKS, <void *>self, OPTIONS)
        else:
            failure = nghttp2_session_server_new2(&self._session, CALLBACKS, <void *>self, OPTIONS)
        _check(failure)
        cdef nghttp2_settings_entry entries[4]
        entries[0].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        entries[0].value = limits.stream_window
        entries[1].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        entries[1].value = limits.max_header_list
        entries[2].settings_id = NGHTTP2_SETTINGS_ENABLE_PUSH if client else NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        entries[2].value = 0 if client else limits.max_streams
        entries[3].settings_id = NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL
        entries[3].value = 1
        _check(
            nghttp2_submit_settings(
                self._session, NGHTTP2_FLAG_NONE, entries, 4 if limits.extended_connect and not client else 3
            )
        )
        if limits.connection_window > WINDOW_AT_FIRST:
            _check(nghttp2_session_set_local_window_size(self._session, 0, 0, limits.connection_window))

    def __dealloc__(self):
        if self._session is not NULL:
            nghttp2_session_del(self._session)
        free(self._buffer)
        free(self._joined)

    # ---- the transport

    def data_to_send(self):
        if not self.failed:
            self._pump()
        cdef bytes data = PyBytes_FromStringAndSize(<char *>self._buffer, self._buffered)
        self._buffered = 0
        if self._capacity > KEPT:
            free(self._buffer)
            self._buffer = NULL
            self._capacity = 0
        return data

    def receive(self, bytes data not None):
        if self.failed:
            return []
        self._feed_frames(data)
        if self._fatal < 0:
            self._pump()
        if self._fatal >= 0:
            code = self._fatal
            self._fail(code)
            self._out = []
            return [ConnectionFailed(code, codes.reason(code))]
        out = self._out
        self._out = []
        return out

    def hold(self):
        self._held = True

    def resume(self):
        cdef _Stream state
        self._held = False
        if self.failed:
            return []
        for number, state in self._streams.items():
            if state.deferred:
                state.deferred = False
                _check(nghttp2_session_resume_data(self._session, number))
        self._pump()
        out = self._out
        self._out = []
        return out

    def tick(self):
        self._patience.tick()

    @property
    def unfinished_block(self):
        if self._head_size or self._left or self._in_block or 0 < self._preface < PREFACE_LENGTH:
            return self._blocks + 1
        return 0

    # ---- streams

    @property
    def can_open(self):
        return (
            not self.failed
            and nghttp2_session_check_request_allowed(self._session) != 0
            and <size_t>len(self._streams)
            < nghttp2_session_get_remote_settings(self._session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
        )

    def open_stream(self, list fields not None, *, bint end):
        cdef int number = self._submit_fields(-1, fields, NGHTTP2_FLAG_END_STREAM if end else NGHTTP2_FLAG_NONE)
        cdef _Stream state = _Stream()
        state.bodiless = (b":method", b"HEAD") in fields
        self._streams[number] = state
        self._pump()
        return number

    def send_head(self, int stream, int status, bytes lines not None, *, bint end=False):
        if self._open(stream) is not None:
            self._submit_head(stream, status, lines, end)

    def respond(self, int stream, int status, bytes lines not None, bytes body not None):
        cdef _Stream state = self._open(stream)
        if state is None:
            return False
        cdef bint empty = not PyBytes_GET_SIZE(body)
        self._submit_head(stream, status, lines, empty)
        if empty:
            return False
        self._add_part(stream, state, body)
        state.end = True
        return self._send_parts(stream, state) > 0

    def send_data(self, int stream, bytes data not None, *, bint end=False):
        cdef _Stream state = self._open(stream)
        if state is None:
            return 0
        if PyBytes_GET_SIZE(data):
            self._add_part(stream, state, data)
        elif not end:
            return state.size
        if end:
            state.end = True
        return self._send_parts(stream, state)

    def send_trailers(self, int stream, list fields not None):
        cdef _Stream state = self._open(stream)
        if state is None:
            return
        if state.attached:
            state.trailers = fields
            state.waited = True
        else:
            self._submit_trailers(stream, fields)
            self._patience.stream_served()

    def waiting(self, int stream):
        cdef _Stream state = self._streams.get(stream)
        return 0 if state is None else state.size

    def is_sending(self, int stream):
        cdef _Stream state = self._streams.get(stream)
        return state is not None and state.attached

    def release(self, int stream, Py_ssize_t size):
        if not self.failed and size > 0:
            _check(nghttp2_session_consume(self._session, stream, size))

    def reset(self, int stream, uint32_t code):
        if self.failed:
            self._forget(stream)
            return
        if stream in self._streams:
            self._pump()  # the library drops what is still to be sent on a stream that is reset
        if self._forget(stream):
            _check(nghttp2_submit_rst_stream(self._session, NGHTTP2_FLAG_NONE, stream, code))

    def mistake(self, int stream, uint32_t code):
        self.reset(stream, code)
        if not self.failed and not self._patience.reset():
            self.fail(ENHANCE_YOUR_CALM)

    # ---- the connection

    def announce_goaway(self):
        if self.failed:
            return
        if self._client:
            self.goaway()
        else:
            _check(nghttp2_submit_shutdown_notice(self._session))

    def goaway(self, uint32_t code=0):
        if self.failed:
            return
        self._pump()
        _check(
            nghttp2_submit_goaway(
                self._session,
                NGHTTP2_FLAG_NONE,
                nghttp2_session_get_last_proc_stream_id(self._session),
                code,
                NULL,
                0,
            )
        )
        self._saying_goaway = True
        self._pump()
        self._saying_goaway = False

    def fail(self, uint32_t code):
        if not self.failed:
            self._pump()
            self._fail(code)

    def ping(self, bytes data not None):
        if len(data) != 8:
            raise ValueError("a ping is eight bytes")
        if not self.failed:
            _check(nghttp2_submit_ping(self._session, NGHTTP2_FLAG_NONE, <uint8_t *>PyBytes_AS_STRING(data)))

    # ---- inside: receiving

    cdef int _feed_frames(self, bytes data) except -1:
        """Let the library have the bytes. Beside it, the frames are followed by their heads: it does not tell of those
        that it ignores."""
        cdef const uint8_t *begin = <const uint8_t *>PyBytes_AS_STRING(data)
        cdef const uint8_t *at = begin
        cdef const uint8_t *end = begin + PyBytes_GET_SIZE(data)
        cdef const uint8_t *fed = begin
        cdef Py_ssize_t size
        if self._preface:
            size = min(<Py_ssize_t>self._preface, end - at)
            self._preface -= <int>size
            at += size
        while at < end and self._fatal < 0:
            if self._left:
                size = min(self._left, end - at)
                self._left -= size
                at += size
                if not self._left:
                    self._end_frame()
                continue
            size = min(<Py_ssize_t>(HEAD - self._head_size), end - at)
            memcpy(self._head + self._head_size, at, size)
            self._head_size += <int>size
            at += size
            if self._head_size < HEAD:
                break
            if self._head[3] == NGHTTP2_DATA and not self._streams.get(self._head_stream()):
                # What comes before it may open its stream.
                self._feed(fed, at - fed)
                fed = at
            self._begin_frame()
        if fed < end:
            self._feed(fed, end - fed)
        return 0

    cdef int _feed(self, const uint8_t *data, Py_ssize_t size) except -1:
        if self._fatal >= 0 or not size:
            return 0
        cdef ssize_t result = nghttp2_session_mem_recv(self._session, data, size)
        if result < 0:
            self._settle(<int>result)
        return 0

    cdef int _head_stream(self):
        cdef uint8_t *head = self._head
        return (head[5] & 0x7F) << 24 | head[6] << 16 | head[7] << 8 | head[8]

    cdef int _begin_frame(self) except -1:
        cdef uint8_t *head = self._head
        cdef uint8_t kind = head[3]
        cdef bint free_of_charge = kind == NGHTTP2_HEADERS or kind == NGHTTP2_RST_STREAM
        self._left = head[0] << 16 | head[1] << 8 | head[2]
        if kind == NGHTTP2_DATA:
            free_of_charge = (self._left or head[4] & NGHTTP2_FLAG_END_STREAM) and self._head_stream() in self._streams
        elif kind == NGHTTP2_HEADERS or kind == NGHTTP2_CONTINUATION:
            self._block_size = self._left + (self._block_size if kind == NGHTTP2_CONTINUATION else 0)
            self._in_block = True
            if self._block_size > self._block_limit:
                self._fatal = ENHANCE_YOUR_CALM
        if not free_of_charge and not self._patience.control():
            self._fatal = ENHANCE_YOUR_CALM
        if not self._left:
            self._end_frame()
        return 0

    cdef void _end_frame(self) noexcept:
        self._head_size = 0
        if self._in_block and self._head[4] & NGHTTP2_FLAG_END_HEADERS:
            self._in_block = False
            self._blocks += 1

    cdef int _take_headers(self, const nghttp2_frame *frame) except -1:
        cdef int number = frame.hd.stream_id
        cdef bint ended = frame.hd.flags & NGHTTP2_FLAG_END_STREAM
        cdef list fields
        cdef _Stream state
        if frame.headers.cat == NGHTTP2_HCAT_REQUEST:
            state = _Stream()
            state.expected = self._content_length
            self._streams[number] = state
            if self._content_length == BAD_LENGTH:
                return self._fail_stream(number, PROTOCOL_ERROR)
            self._out.append(RequestReceived(number, self._path or b"", self._take_joined(), ended))
            return 0
        fields = self._fields
        self._fields = []
        state = self._streams.get(number)
        if state is None:
            return 0
        if self._client and not state.headed:
            if fields and fields[0][0] == b":status" and fields[0][1].startswith(b"1"):
                if ended:
                    return self._fail_stream(number, PROTOCOL_ERROR)
                self._out.append(InformationalReceived(number, fields))
                return 0
            if self._content_length == BAD_LENGTH:
                return self._fail_stream(number, PROTOCOL_ERROR)
            state.headed = True
            state.expected = NO_LENGTH if state.bodiless else self._content_length
            self._out.append(HeadersReceived(number, fields, ended))
        elif not ended or 0 <= state.expected != state.received:
            return self._fail_stream(number, PROTOCOL_ERROR)
        else:
            self._out.append(TrailersReceived(number, fields))
        return 0

    cdef int _take_data(self, int number, const uint8_t *data, size_t size) except -1:
        cdef _Stream state = self._streams.get(number)
        if state is not None:
            state.received += size
            if 0 <= state.expected < state.received:
                self._fail_stream(number, PROTOCOL_ERROR)
                state = None
        if state is None:
            return _check(nghttp2_session_consume(self._session, number, size))
        self._out.append(DataReceived(number, PyBytes_FromStringAndSize(<const char *>data, size), size))
        return 0

    cdef int _take_frame(self, const nghttp2_frame *frame) except -1:
        cdef int number = frame.hd.stream_id
        cdef int kind = frame.hd.type
        cdef _Stream state
        if kind == NGHTTP2_HEADERS:
            self._take_headers(frame)
        elif kind == NGHTTP2_DATA:
            if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
                state = self._streams.get(number)
                if state is None:
                    return 0
                if 0 <= state.expected != state.received:
                    return self._fail_stream(number, PROTOCOL_ERROR)
                self._out.append(StreamEnded(number))
        elif kind == NGHTTP2_RST_STREAM:
            if self._forget(number):
                self._out.append(StreamReset(number, frame.rst_stream.error_code, True))
                self._count_reset()
            elif not self._patience.control():
                self._fatal = ENHANCE_YOUR_CALM
        elif kind == NGHTTP2_SETTINGS:
            if not frame.hd.flags & NGHTTP2_FLAG_ACK:
                self._out.append(SettingsReceived())
        elif kind == NGHTTP2_PING:
            if frame.hd.flags & NGHTTP2_FLAG_ACK:
                self._out.append(PingAnswered(PyBytes_FromStringAndSize(<const char *>frame.ping.opaque_data, 8)))
            else:
                # Between frames, as everywhere where the library is not asked for more.
                self._write(<const uint8_t *>PING_ANSWER, HEAD)
                self._write(frame.ping.opaque_data, 8)
        elif kind == NGHTTP2_GOAWAY:
            self.peer_last_stream = min(self.peer_last_stream, <long long>frame.goaway.last_stream_id)
            self._out.append(GoAwayReceived(frame.goaway.last_stream_id, frame.goaway.error_code))
        return 0

    cdef int _take_field(self, const uint8_t *name, size_t name_size, const uint8_t *value, size_t size) except -1:
        self._list_size += name_size + size + FIELD_COST
        if self._list_size > self._list_limit:
            self._fatal = ENHANCE_YOUR_CALM
            return 0
        cdef long long length
        if name_size == 14 and memcmp(name, b"content-length", 14) == 0:
            length = _number(value, size)
            self._content_length = length if self._content_length in (NO_LENGTH, length) else BAD_LENGTH
        if self._is_request:
            return self._join(name, name_size, value, size)
        self._fields.append(
            (
                PyBytes_FromStringAndSize(<const char *>name, name_size),
                PyBytes_FromStringAndSize(<const char *>value, size),
            )
        )
        return 0

    cdef int _join(self, const uint8_t *name, size_t name_size, const uint8_t *value, size_t size) except -1:
        """Take a field of a request; see proxy.http2.joined."""
        if not self._past_pseudo:
            if not name_size or name[0] != 58:
                self._past_pseudo = True
            elif self._path is None and name_size == 5 and memcmp(name, b":path", 5) == 0:
                self._path = PyBytes_FromStringAndSize(<const char *>value, size)
                return 0
        cdef Py_ssize_t room = self._joined_size + 8 + name_size + size
        cdef uint8_t *joined = self._joined
        if room > self._joined_room:
            room = max(2 * room, 1024)
            joined = <uint8_t *>realloc(joined, room)
            if joined is NULL:
                raise MemoryError
            self._joined = joined
            self._joined_room = room
        joined += self._joined_size
        _write_length(joined, name_size)
        _write_length(joined + 4, size)
        memcpy(joined + 8, name, name_size)
        memcpy(joined + 8 + name_size, value, size)
        self._joined_size += 8 + name_size + size
        return 0

    cdef bytes _take_joined(self):
        """All fields of a request in one piece; the same object where it is equal to the last one."""
        cdef bytes last = self._last_joined
        if PyBytes_GET_SIZE(last) != self._joined_size or memcmp(
            PyBytes_AS_STRING(last), self._joined, self._joined_size
        ):
            last = PyBytes_FromStringAndSize(<const char *>self._joined, self._joined_size)
            self._last_joined = last if self._joined_size <= REMEMBERED else b""
        return last

    cdef int _fail_stream(self, int number, uint32_t code) except -1:
        """Reset a stream for a mistake of the peer."""
        self._forget(number)
        _check(nghttp2_submit_rst_stream(self._session, NGHTTP2_FLAG_NONE, number, code))
        self._out.append(StreamReset(number, code, False))
        return self._count_reset()

    cdef int _count_reset(self) except -1:
        if not self._patience.reset():
            self._fatal = ENHANCE_YOUR_CALM
        return 0

    cdef int _close(self, int number, uint32_t code) except -1:
        """The library is done with a stream."""
        if self._forget(number) and code != NO_ERROR:
            # For a mistake of the peer that the library saw.
            self._out.append(StreamReset(number, code, False))
            return self._count_reset()
        return 0

    # ---- inside: sending

    cdef _Stream _open(self, int stream):
        return None if self.failed else self._streams.get(stream)

    cdef bint _forget(self, int stream) except -1:
        """Whether it was there."""
        cdef _Stream state = self._streams.pop(stream, None)
        if state is None:
            return False
        state.size = 0
        state.parts = None
        state.attached = False
        return True

    cdef int _add_part(self, int stream, _Stream state, bytes data) except -1:
        if state.parts is None:
            state.parts = deque()
        state.parts.append(data)
        state.size += PyBytes_GET_SIZE(data)
        return 0

    cdef Py_ssize_t _send_parts(self, int stream, _Stream state) except -1:
        """As far as the windows allow; the bytes that wait."""
        cdef nghttp2_data_provider provider
        if not state.attached:
            state.attached = True
            provider.source.ptr = NULL
            provider.read_callback = _read_body
            _check(nghttp2_submit_data(self._session, NGHTTP2_FLAG_END_STREAM, stream, &provider))
        if not self._held:
            self._pump()
        if state.attached:
            state.waited = True
        return state.size

    cdef int _submit_head(self, int stream, int status, bytes lines, bint end) except -1:
        """A response head, from header lines."""
        cdef nghttp2_nv small[FIELDS_ON_STACK]
        cdef uint8_t digits[3]
        cdef Py_ssize_t size = PyBytes_GET_SIZE(lines)
        # Each field takes a line, and a line two bytes at least.
        cdef Py_ssize_t count = 1
        cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(lines)
        cdef const uint8_t *stop = at + size
        while True:
            at = <const uint8_t *>memchr(at, 10, stop - at)
            if at is NULL:
                break
            count += 1
            at += 1
        cdef nghttp2_nv *pairs = &small[0]
        cdef uint8_t *names = NULL
        if count > FIELDS_ON_STACK:
            pairs = <nghttp2_nv *>malloc(count * sizeof(nghttp2_nv))
            if pairs is NULL:
                raise MemoryError
        try:
            names = <uint8_t *>malloc(size + 1)
            if names is NULL:
                raise MemoryError
            digits[0] = 48 + status // 100 % 10
            digits[1] = 48 + status // 10 % 10
            digits[2] = 48 + status % 10
            pairs[0].name = <uint8_t *>STATUS
            pairs[0].namelen = 7
            pairs[0].value = digits
            pairs[0].valuelen = 3
            pairs[0].flags = NGHTTP2_NV_FLAG_NONE
            count = _read_lines(<uint8_t *>PyBytes_AS_STRING(lines), size, names, pairs + 1)
            _check(
                nghttp2_submit_headers(
                    self._session,
                    NGHTTP2_FLAG_END_STREAM if end else NGHTTP2_FLAG_NONE,
                    stream,
                    NULL,
                    pairs,
                    count + 1,
                    NULL,
                )
            )
        finally:
            free(names)
            if pairs != &small[0]:
                free(pairs)
        if end:
            self._patience.stream_served()
        return 0

    cdef int _submit_fields(self, int stream, list fields, uint8_t flags) except -1:
        """A head; with ``stream`` -1 that of a request. The number of its stream."""
        cdef nghttp2_nv small[FIELDS_ON_STACK]
        cdef nghttp2_nv *pairs = &small[0]  # filled below, as far as it is read
        cdef Py_ssize_t count = len(fields)
        if count > FIELDS_ON_STACK:
            pairs = <nghttp2_nv *>malloc(count * sizeof(nghttp2_nv))
            if pairs is NULL:
                raise MemoryError
        try:
            _fill(pairs, fields, count)
            # The library copies them.
            return _check(nghttp2_submit_headers(self._session, flags, stream, NULL, pairs, count, NULL))
        finally:
            if pairs != &small[0]:
                free(pairs)

    cdef int _submit_trailers(self, int stream, list fields) except -1:
        return self._submit_fields(stream, fields, NGHTTP2_FLAG_END_STREAM)

    cdef ssize_t _read(self, int number, uint8_t *buffer, size_t room, uint32_t *flags) except -1:
        """The next DATA frame of a stream."""
        cdef _Stream state = self._streams.get(number)
        cdef bytes part
        cdef size_t size, taken = 0
        if state is None:
            return NGHTTP2_ERR_DEFERRED
        if self._held:
            state.deferred = True
            return NGHTTP2_ERR_DEFERRED
        while state.parts and taken < room:
            part = state.parts[0]
            size = PyBytes_GET_SIZE(part) - state.offset
            if size > room - taken:
                size = room - taken
                memcpy(buffer + taken, PyBytes_AS_STRING(part) + state.offset, size)
                state.offset += size
            else:
                memcpy(buffer + taken, PyBytes_AS_STRING(part) + state.offset, size)
                state.offset = 0
                state.parts.popleft()
            taken += size
        state.size -= taken
        self._patience.data_sent(taken)
        if not state.parts:
            flags[0] |= NGHTTP2_DATA_FLAG_EOF
            if state.trailers is not None:
                flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
                self._submit_trailers(number, state.trailers)
                self._patience.stream_served()
            elif state.end:
                self._patience.stream_served()
            else:
                flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
            state.attached = False
            if state.waited:
                state.waited = False
                self._out.append(Drained(number))
        return taken

    cdef int _pump(self) except -1:
        """Take from the library what it wants to write."""
        cdef const uint8_t *data = NULL
        cdef ssize_t size
        while self._fatal < 0:
            size = nghttp2_session_mem_send(self._session, &data)
            if size <= 0:
                if size:
                    self._settle(<int>size)
                break
            if self._fatal < 0:
                self._write(data, size)
        return 0

    cdef int _write(self, const uint8_t *data, Py_ssize_t size) except -1:
        cdef Py_ssize_t capacity = self._capacity
        cdef uint8_t *buffer
        if self._buffered + size > capacity:
            capacity = max(2 * capacity, self._buffered + size, 4096)
            buffer = <uint8_t *>realloc(self._buffer, capacity)
            if buffer is NULL:
                raise MemoryError
            self._buffer = buffer
            self._capacity = capacity
        memcpy(self._buffer + self._buffered, data, size)
        self._buffered += size
        return 0

    cdef int _fail(self, uint32_t code) except -1:
        """The last frame; the library is asked for nothing more."""
        self.failed = True
        cdef uint32_t last = nghttp2_session_get_last_proc_stream_id(self._session)
        cdef bytes goaway = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + last.to_bytes(4, "big") + code.to_bytes(4, "big")
        return self._write(<const uint8_t *>PyBytes_AS_STRING(goaway), len(goaway))

    cdef int _settle(self, int failure) except -1:
        """What it means that the library stopped."""
        if self._error is not None:
            error = self._error
            self._error = None
            raise error
        if self._fatal >= 0:
            return 0
        if failure == NGHTTP2_ERR_BAD_CLIENT_MAGIC:
            self._fatal = PROTOCOL_ERROR
        elif failure == NGHTTP2_ERR_FLOODED:
            self._fatal = ENHANCE_YOUR_CALM
        else:
            return _check(failure)
        return 0

    cdef int _stopped(self) noexcept:
        return NGHTTP2_ERR_CALLBACK_FAILURE if self._fatal >= 0 else 0


cdef int _check(int result) except -1:
    """Raises where the library failed for a reason of its own."""
    if result >= 0:
        return result
    if result == NGHTTP2_ERR_NOMEM:
        raise MemoryError
    raise RuntimeError(f"libnghttp2: {nghttp2_strerror(result).decode()}")


cdef int _fill(nghttp2_nv *pairs, list fields, Py_ssize_t count) except -1:
    cdef bytes name, value
    cdef Py_ssize_t index
    for index in range(count):
        name, value = <tuple?>fields[index]
        if name is None or value is None:
            raise TypeError("a field is two bytes objects")
        pairs[index].name = <uint8_t *>PyBytes_AS_STRING(name)
        pairs[index].namelen = PyBytes_GET_SIZE(name)
        pairs[index].value = <uint8_t *>PyBytes_AS_STRING(value)
        pairs[index].valuelen = PyBytes_GET_SIZE(value)
        pairs[index].flags = NGHTTP2_NV_FLAG_NONE
    return 0


cdef Py_ssize_t _read_lines(uint8_t *lines, Py_ssize_t size, uint8_t *names, nghttp2_nv *pairs) noexcept:
    """The fields of header lines, their names in lower case in ``names``; how many there are."""
    cdef uint8_t *at = lines
    cdef uint8_t *stop = lines + size
    cdef uint8_t *end
    cdef uint8_t *colon
    cdef uint8_t *last
    cdef uint8_t byte
    cdef Py_ssize_t index, count = 0
    while at < stop:
        end = <uint8_t *>memchr(at, 10, stop - at)
        if end is NULL:
            break
        last = end - 1 if end > at and end[-1] == 13 else end
        colon = <uint8_t *>memchr(at, 58, last - at)
        if colon is not NULL:
            pairs[count].name = names
            pairs[count].namelen = colon - at
            for index in range(colon - at):
                byte = at[index]
                names[index] = byte + 32 if 65 <= byte <= 90 else byte
            names += colon - at
            at = colon + 1
            while at < last and (at[0] == 32 or at[0] == 9):
                at += 1
            while last > at and (last[-1] == 32 or last[-1] == 9):
                last -= 1
            pairs[count].value = at
            pairs[count].valuelen = last - at
            pairs[count].flags = NGHTTP2_NV_FLAG_NONE
            count += 1
        at = end + 1
    return count


cdef void _write_length(uint8_t *at, size_t length) noexcept:
    at[0] = length >> 24 & 0xFF
    at[1] = length >> 16 & 0xFF
    at[2] = length >> 8 & 0xFF
    at[3] = length & 0xFF


cdef long long _number(const uint8_t *digits, size_t size) noexcept:
    cdef long long number = 0
    cdef size_t index
    if not 0 < size <= 18:
        return BAD_LENGTH
    for index in range(size):
        if not 48 <= digits[index] <= 57:
            return BAD_LENGTH
        number = 10 * number + digits[index] - 48
    return number


def sort_out(bytes joined not None, dict plain not None):
    """See proxy.http2.joined."""
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(joined)
    cdef const uint8_t *end = at + PyBytes_GET_SIZE(joined)
    cdef size_t name_size, size
    cdef Py_ssize_t count = 0
    cdef list others = []
    cdef bytes name
    # A line is four bytes longer than its field, and a field in the piece eight.
    cdef bytes lines = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(joined))
    cdef uint8_t *begin = <uint8_t *>PyBytes_AS_STRING(lines)
    cdef uint8_t *to = begin
    while at < end:
        name_size = _read_length(at)
        size = _read_length(at + 4)
        at += 8
        name = PyBytes_FromStringAndSize(<const char *>at, name_size)
        if name in plain and _is_clean(at + name_size, size):
            memcpy(to, at, name_size)
            to += name_size
            to[0] = 58
            to[1] = 32
            memcpy(to + 2, at + name_size, size)
            to += 2 + size
            to[0] = 13
            to[1] = 10
            to += 2
            count += 1
        elif count and name_size and at[0] == 58:
            return b"", 0, split_fields(joined)
        else:
            others.append((name, PyBytes_FromStringAndSize(<const char *>at + name_size, size)))
        at += name_size + size
    return PyBytes_FromStringAndSize(<const char *>begin, to - begin), count, others


cdef bint _is_clean(const uint8_t *value, size_t size) noexcept:
    cdef size_t index
    if size and (value[0] == 32 or value[0] == 9 or value[size - 1] == 32 or value[size - 1] == 9):
        return False
    for index in range(size):
        if (value[index] < 32 and value[index] != 9) or value[index] == 127:
            return False
    return True


cdef size_t _read_length(const uint8_t *at) noexcept:
    return <size_t>at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]


# ---- what the library calls

cdef int _on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    cdef Http2Connection self = <Http2Connection>user
    self._list_size = 0
    self._content_length = NO_LENGTH
    self._is_request = frame.headers.cat == NGHTTP2_HCAT_REQUEST
    if self._is_request:
        self._past_pseudo = False
        self._path = None
        self._joined_size = 0
        if self._joined_room > KEPT:
            free(self._joined)
            self._joined = NULL
            self._joined_room = 0
    return 0


cdef int _on_header(
    nghttp2_session *session,
    const nghttp2_frame *frame,
    const uint8_t *name,
    size_t name_size,
    const uint8_t *value,
    size_t size,
    uint8_t flags,
    void *user,
) noexcept:
    cdef Http2Connection self = <Http2Connection>user
    try:
        self._take_field(name, name_size, value, size)
    except BaseException as error:
        self._error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return self._stopped()


cdef int _on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    cdef Http2Connection self = <Http2Connection>user
    try:
        self._take_frame(frame)
    except BaseException as error:
        self._error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return self._stopped()


cdef int _on_data(
    nghttp2_session *session, uint8_t flags, int32_t number, const uint8_t *data, size_t size, void *user
) noexcept:
    cdef Http2Connection self = <Http2Connection>user
    try:
        self._take_data(number, data, size)
    except BaseException as error:
        self._error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return self._stopped()


cdef int _on_close(nghttp2_session *session, int32_t number, uint32_t code, void *user) noexcept:
    cdef Http2Connection self = <Http2Connection>user
    try:
        self._close(number, code)
    except BaseException as error:
        self._error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return self._stopped()


cdef int _before_send(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    cdef Http2Connection self = <Http2Connection>user
    if frame.hd.type == NGHTTP2_GOAWAY:
        if frame.goaway.error_code != NO_ERROR and not self._saying_goaway:
            # How the library tells that the peer broke the connection.
            self._fatal = frame.goaway.error_code
    elif frame.hd.type == NGHTTP2_RST_STREAM and frame.rst_stream.error_code == REFUSED_STREAM:
        try:
            self._count_reset()
        except BaseException as error:
            self._error = error
            return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef ssize_t _read_body(
    nghttp2_session *session,
    int32_t number,
    uint8_t *buffer,
    size_t room,
    uint32_t *flags,
    nghttp2_data_source *source,
    void *user,
) noexcept:
    cdef Http2Connection self = <Http2Connection>user
    try:
        return self._read(number, buffer, room, flags)
    except BaseException as error:
        self._error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


def _prepare():
    """What all connections share."""
    global CALLBACKS, OPTIONS
    _check(nghttp2_session_callbacks_new(&CALLBACKS))
    nghttp2_session_callbacks_set_on_begin_headers_callback(CALLBACKS, _on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback(CALLBACKS, _on_header)
    nghttp2_session_callbacks_set_on_frame_recv_callback(CALLBACKS, _on_frame)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(CALLBACKS, _on_data)
    nghttp2_session_callbacks_set_on_stream_close_callback(CALLBACKS, _on_close)
    nghttp2_session_callbacks_set_before_frame_send_callback(CALLBACKS, _before_send)
    _check(nghttp2_option_new(&OPTIONS))
    nghttp2_option_set_no_auto_window_update(OPTIONS, 1)
    nghttp2_option_set_no_http_messaging(OPTIONS, 1)
    # The proxy bounds heads, and Patience bounds what the peer does; the library's own bounds must not come first.
    nghttp2_option_set_max_send_header_block_length(OPTIONS, 16 * 1024 * 1024)
    nghttp2_option_set_max_outbound_ack(OPTIONS, 1_000_000)
    nghttp2_option_set_max_continuations(OPTIONS, 1_000_000)
    nghttp2_option_set_stream_reset_rate_limit(OPTIONS, 1_000_000, 1_000_000)
    # The library answers none once the peer said GOAWAY and no stream is open.
    nghttp2_option_set_no_auto_ping_ack(OPTIONS, 1)


_prepare()
