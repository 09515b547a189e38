"""A light HTTP/1.1 client for load: kept connections, no redirects, answers that say their length.

A general client spends more time on a request than the server does; this one takes about 30 microseconds.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Answer(NamedTuple):
    """Status and body of one answer."""

    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """One kept connection: a request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def open(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Send a request as it is; the future ends with its answer, or with :class:`ConnectionError`."""
        if self._transport is None or not self.open:
            raise ConnectionError("the connection is closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiting

    def data_received(self, data: bytes) -> None:
        """Take a piece of the answer."""
        self._received += data
        waiting = self._waiting
        if waiting is None or waiting.done():
            return
        try:
            answer = _answer(self._received)
        except ValueError as error:
            waiting.set_exception(error)
            return
        if answer is not None:
            self._received.clear()
            waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError(f"the server closed the connection ({exc})"))

    def close(self) -> None:
        """Close; an answer under way is given up."""
        if self._transport is not None:
            self._transport.abort()


class Client:
    """As many kept connections to one server as there are requests in flight.

    Parameters
    ----------
    host, port
        Of the server.
    most
        Connections at once; past that a request waits for one to become free.
    """

    def __init__(self, host: str, port: int, most: int = 900) -> None:
        self._address = host, port
        self._idle: list[Connection] = []
        self._places = asyncio.Semaphore(most)
        self._all: set[Connection] = set()

    async def ask(self, request: bytes) -> Answer:
        """Send one request and wait for its answer.

        Raises
        ------
        OSError
            The server does not answer, or closes the connection.
        ValueError
            The answer is no HTTP/1.1 with a length.
        """
        async with self._places:
            connection = await self._connection()
            try:
                answer = await connection.ask(request)
            except BaseException:  # a late answer must never be taken for that of the next request
                connection.close()
                self._all.discard(connection)
                raise
            self._idle.append(connection)
            return answer

    async def open(self, connections: int) -> None:
        """Open connections before they are needed."""
        self._idle += [await self._new() for _ in range(connections)]

    def close(self) -> None:
        """Close every connection."""
        for connection in self._all:
            connection.close()

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
            self._all.discard(connection)
        return await self._new()

    async def _new(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, *self._address)
        self._all.add(connection)
        return connection


def request(method: str, host: str, path: str, body: bytes = b"") -> bytes:
    r"""Write out a request.

    >>> request("GET", "h", "/x")
    b'GET /x HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n'
    """
    head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def _answer(received: bytearray) -> Answer | None:
    end = received.find(_HEAD_END)
    if end < 0:
        return None
    head = bytes(received[:end]).lower()
    if not head.startswith(b"http/1.1 "):
        raise ValueError(f"this is no HTTP/1.1 answer: {head[:60]!r}")
    start = head.find(_LENGTH)
    if start < 0:
        raise ValueError(f"an answer must say its length; this one does not: {head[:200]!r}")
    length = int(head[start + len(_LENGTH) :].split(b"\r\n", 1)[0])
    body_at = end + len(_HEAD_END)
    if len(received) < body_at + length:
        return None
    return Answer(int(head[9:12]), bytes(received[body_at : body_at + length]))
