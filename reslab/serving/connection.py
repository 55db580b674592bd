"""One connection of a client: with a time limit for the headers, and errors as JSON."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

from reslab.serving.settings import RETRY_SECONDS

MOST_CONNECTIONS = 512  # of a worker; a process has often no more than 1024 open files
HEADER_SECONDS = 10.0
LINGER_SECONDS = 0.5  # for a request that is on its way when the server stops
READ_SECONDS = 1.0  # for a client to read an error: with unread data the system would reset it


class OneWrite:
    """A transport that joins the head of an answer to its body: one system call, one packet.

    uvicorn writes the head, the body, and an empty end.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._waiting = transport, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._waiting and data.startswith(b"HTTP/1.1 2"):
            self._waiting = data
        elif data or self._waiting:
            self._transport.write(self._waiting + data)
            self._waiting = b""

    def close(self) -> None:
        self.write(b"")
        self._transport.close()


class JsonConnection(H11Protocol):
    """uvicorn's connection, whose own errors are JSON too, and that never waits for ever."""

    _timer: asyncio.TimerHandle | None = None
    _ended = False
    _all_received = False  # the client has closed its side, and may still read

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(OneWrite(transport))
        if len(self.connections) > MOST_CONNECTIONS:
            self._end(503, "the server has too many connections; try again later")
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        if not self._ended:
            super().data_received(data)
            self._watch()

    def eof_received(self) -> bool:
        """Called when the client has sent all. Returns whether the connection stays open."""
        self._all_received = True
        if self._is_idle():
            if self.conn.trailing_data[0]:
                self._end(400, "the connection was closed too early")
        elif self.cycle.more_body:
            self._end(400, "the connection was closed too early")
        return self._ended or not self._is_idle()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._all_received and self._is_idle() and not self.transport.is_closing():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for what is not HTTP."""
        self._end(400, "the request is not valid HTTP")

    def shutdown(self) -> None:
        """Called when the server stops: a request that is on its way is still answered."""
        if self._ended:
            self.transport.close()
        elif self._is_idle() and self.conn.our_state is h11.IDLE:
            self._stop_timer()
            self._timer = self.loop.call_later(LINGER_SECONDS, self._close_if_idle)
        else:
            super().shutdown()

    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        """Give the client limited time for the headers of its next request."""
        if self._ended:
            return
        waits = self._is_idle() and (self.cycle is None or self.conn.trailing_data[0])
        if not waits:
            self._stop_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self._is_idle():
            self._end(408, f"the headers took more than {HEADER_SECONDS:g} s to arrive")

    def _close_if_idle(self) -> None:
        if self._is_idle():
            super().shutdown()

    def _end(self, status: int, text: str) -> None:
        """Answer with an error if there is no answer yet, and close the connection."""
        if self.transport.is_closing() or self._ended:
            return
        self._stop_timer()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in _error(status, text):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the application must not answer too
            self.cycle.message_event.set()
        self._ended = True
        self.transport.write_eof()
        self._timer = self.loop.call_later(READ_SECONDS, self.transport.close)


def _error(status: int, text: str) -> list[Any]:
    content = msgspec.json.encode({"error": text})
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(content))),
        ("connection", "close"),
    ]
    if status == 503:
        headers.append(("retry-after", str(RETRY_SECONDS)))
    response = h11.Response(status_code=status, headers=headers)
    return [response, h11.Data(data=content), h11.EndOfMessage()]
