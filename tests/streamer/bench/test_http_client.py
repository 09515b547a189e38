from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from streamer.bench.http_client import Client, request

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


async def heads(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while not reader.at_eof():
        try:
            yield await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return


async def test_a_connection_is_kept_and_pieces_are_put_together() -> None:
    connections = 0

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        async for _ in heads(reader):
            for piece in (OK[:10], OK[10:40], OK[40:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.005)

    async with server(serve) as port:
        client = Client("127.0.0.1", port)
        for _ in range(3):
            assert await client.ask(request("GET", "h", "/")) == (200, b"hello")
        client.close()
    assert connections == 1


async def test_requests_in_flight_have_connections_of_their_own() -> None:
    free = asyncio.Event()
    waiting = 0

    async def serve(reader, writer):
        nonlocal waiting
        async for head in heads(reader):
            waiting += 1
            await free.wait()
            path = head.split()[1]
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(path), path))

    async with server(serve) as port:
        client = Client("127.0.0.1", port)
        asked = [asyncio.create_task(client.ask(request("GET", "h", f"/{number}"))) for number in range(20)]
        while waiting < 20:
            await asyncio.sleep(0.01)
        free.set()
        assert [answer.body for answer in await asyncio.gather(*asked)] == [b"/%d" % number for number in range(20)]
        client.close()


async def test_after_a_time_out_the_late_answer_is_nobodys() -> None:
    first = True

    async def serve(reader, writer):
        nonlocal first
        async for _ in heads(reader):
            late, first = first, False
            await asyncio.sleep(0.1 if late else 0)
            body = b"late" if late else b"next"
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n" + body)

    async with server(serve) as port:
        client = Client("127.0.0.1", port)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.ask(request("GET", "h", "/")), 0.02)
        await asyncio.sleep(0.15)
        assert (await client.ask(request("GET", "h", "/"))).body == b"next"
        client.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [(b"", ConnectionError), (b"SSH-2.0\r\n\r\n", ValueError), (b"HTTP/1.1 200 OK\r\n\r\n", ValueError)],
)
async def test_what_is_no_answer_is_an_error(answer: bytes, error: type[Exception]) -> None:
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with server(serve) as port:
        with pytest.raises(error):
            await Client("127.0.0.1", port).ask(request("GET", "h", "/"))
