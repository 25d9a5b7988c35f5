"""A network cable that can be pulled: a TCP forwarder between a device and the server.

The demo gives one device its own cable. ``cut`` resets what is connected and refuses what comes,
as a dead link does from the device's point of view; ``throttle`` makes a slow link.
"""

import asyncio
import contextlib
import threading
from typing import Final, Self

from edgeops.errors import TransportError

_CHUNK: Final = 4096
_START_S: Final = 10.0


class Cable:
    """Forwards one local port to ``target``; used as a context manager.

    Args:
        target: Host and port of the server's side.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="cable", daemon=True)
        self._ready = threading.Event()
        self._up = True
        self._bytes_per_s: float | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise TransportError("the demo's cable did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)

    def cut(self) -> None:
        """Pull the plug: open connections break, new ones are refused."""
        self._up = False
        self._loop.call_soon_threadsafe(self._break)

    def restore(self) -> None:
        """Put the plug back."""
        self._up = True

    def throttle(self, bytes_per_s: float | None) -> None:
        """Limit the rate towards the device, per connection; ``None`` for no limit."""
        self._bytes_per_s = bytes_per_s

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, "127.0.0.1", 0)
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        self._break()
        self._server.close()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.close()

    def _break(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._up:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._writers |= both
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, slow=False),
                self._pump(far_reader, writer, slow=True),
            )
        finally:
            self._writers -= both
            for end in both:
                end.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, slow: bool
    ) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while data := await source.read(_CHUNK):
                rate = self._bytes_per_s if slow else None
                if rate:
                    await asyncio.sleep(len(data) / rate)
                sink.write(data)
                await sink.drain()
            if sink.can_write_eof():
                sink.write_eof()
