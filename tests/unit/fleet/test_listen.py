"""The devices' port: silent and too many connections go, everybody else is served."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from fleet import listen
from fleet.config import Address

DEADLINE_S = 10.0
REQUEST = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def run(
    scene: Callable[[Callable[[], Awaitable[Streams]]], Awaitable[None]],
    *,
    most: int = 100,
    patience_s: float = 10.0,
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    async def all_of_it() -> None:
        app = web.Application()
        app.router.add_get("/x", answer)
        listener = listen.bound(Address("127.0.0.1", 0))
        port = listener.getsockname()[1]
        opened: list[Streams] = []

        async def connect() -> Streams:
            opened.append(await asyncio.open_connection("127.0.0.1", port))
            return opened[-1]

        async with listen.device_server(app, listener, most=most, patience_s=patience_s):
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await scene(connect)
            finally:
                for _, writer in opened:
                    writer.close()

    asyncio.run(all_of_it())


async def asks(streams: Streams) -> bytes:
    streams[1].write(REQUEST)
    head = await streams[0].readuntil(b"\r\n\r\n")
    return head.split(b"\r\n")[0] + await streams[0].readexactly(4)


def test_who_says_nothing_or_half_a_request_is_shown_out() -> None:
    async def scene(connect: Callable[[], Awaitable[Streams]]) -> None:
        silent, slow, talker = await connect(), await connect(), await connect()
        slow[1].write(REQUEST[:10])
        assert await asks(talker) == b"HTTP/1.1 200 OKhere"

        assert await silent[0].read() == b""
        assert await slow[0].read() == b""
        assert await asks(talker) == b"HTTP/1.1 200 OKhere"

    run(scene, patience_s=0.3)


def test_beyond_the_limit_a_connection_is_closed_and_the_others_are_served() -> None:
    async def scene(connect: Callable[[], Awaitable[Streams]]) -> None:
        first, second = await connect(), await connect()
        assert await asks(first) == await asks(second) == b"HTTP/1.1 200 OKhere"
        third = await connect()
        assert await third[0].read() == b""
        second[1].close()
        await second[1].wait_closed()
        while True:
            fourth = await connect()
            fourth[1].write(REQUEST)
            if await fourth[0].read(5):
                break
        assert await asks(first) == b"HTTP/1.1 200 OKhere"

    run(scene, most=2)
