"""A broker as a child process: started, watched, restarted, told to reload, ended."""

import asyncio
import contextlib
import logging
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from enum import StrEnum
from pathlib import Path
from typing import Final

from edgeops.clock import Clock, SystemClock
from edgeops.errors import EdgeOpsError, MissingExtraError, TransportError, UsageError
from fleet.broker.accounts import BrokerAccounts
from fleet.broker.limits import Limits
from fleet.broker.mosquitto import find_mosquitto, write_config
from fleet.broker.server import is_loopback

logger = logging.getLogger(__name__)

READY_S: Final = 10.0
SILENT_READY_S: Final = 2.0
"""Alive and accepting for so long counts as ready, should a Mosquitto word its log otherwise."""
POLL_S: Final = 0.02
GRACE_S: Final = 5.0
FIRST_BACKOFF_S: Final = 0.2
LONGEST_BACKOFF_S: Final = 30.0
STEADY_S: Final = 60.0
"""A broker that lived this long had recovered: the next back-off starts small again."""
PORT_ATTEMPTS: Final = 5
LONGEST_LOG_LINE: Final = 500
READY_LINE: Final = re.compile(r"^listening |mosquitto version \S+ running")
"""Only the broker's own word proves that it is not somebody else who answers on the port."""


class BrokerKind(StrEnum):
    """Which broker the fleet uses."""

    MOSQUITTO = "mosquitto"
    BUILTIN = "builtin"
    EXTERNAL = "external"
    """Somebody else runs it: we only wait until it answers."""


class BrokerChild:
    """One broker, kept alive.

    Args:
        folder: For Mosquitto's configuration and state.
        accounts: Files that the fleet rewrites before it calls ``reload``.
        port: 0 takes a free one, which a restart keeps.
        allow_remote: Listen beyond loopback, without TLS, on a network that is trusted.

    Raises:
        UsageError: The address is no loopback address and ``allow_remote`` was not said.
    """

    def __init__(
        self,
        kind: BrokerKind,
        folder: Path,
        accounts: BrokerAccounts,
        listen_host: str = "127.0.0.1",
        port: int = 0,
        *,
        allow_remote: bool = False,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        if kind is BrokerKind.EXTERNAL and port == 0:
            raise UsageError("an external broker needs its port")
        if kind is not BrokerKind.EXTERNAL and not allow_remote and not is_loopback(listen_host):
            raise UsageError(f"{listen_host!r} is no loopback address: allow_remote was not said")
        self.kind = kind
        self.restarts = 0
        self._folder = folder
        self._accounts = accounts
        self._host = listen_host
        self._port = port
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._process: Process | None = None
        self._drains: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._is_ready = False
        self._reload_wanted = False

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none.

        Mosquitto's is that of its guard, which passes signals on and dies with it.
        """
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> tuple[str, int]:
        """Start the broker; return host and port once it accepts connections.

        Raises:
            MissingExtraError: Mosquitto is not installed.
            TransportError: The broker ended at once or does not answer in time.
            StorageError: Its configuration cannot be written.
        """
        self._stopping.clear()
        if self.kind is BrokerKind.EXTERNAL:
            await self._until_accepting(self._port)
            return self._host, self._port
        attempts = PORT_ATTEMPTS if self._port == 0 else 1
        for attempt in range(1, attempts + 1):
            port = self._port or free_port(self._host)
            try:
                await self._launch(port)
            except TransportError:  # somebody may have taken the port since we looked
                if attempt == attempts:
                    raise
            else:
                self._port = port
                break
        logger.info("%s broker accepts connections on %s:%d", self.kind, self._host, self._port)
        return self._host, self._port

    async def supervise(self) -> None:
        """Start the broker again, with growing pauses, whenever it ends; return after ``stop``."""
        backoff_s = FIRST_BACKOFF_S
        started_s = self._clock.monotonic()
        while not await self._ended_or_stopping():
            if self._clock.monotonic() - started_s > STEADY_S:
                backoff_s = FIRST_BACKOFF_S
            logger.error("%s broker ended; starting it again in %.1f s", self.kind, backoff_s)
            if await self._is_stopping_within(backoff_s):
                break
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
            started_s = self._clock.monotonic()
            try:
                await self._launch(self._port)
            except EdgeOpsError as error:
                logger.error("%s broker did not start: %s", self.kind, error)  # noqa: TRY400
            else:
                self.restarts += 1

    def reload(self) -> None:
        """Have the broker read passwords and access rules again; clients that lost theirs go."""
        if self.kind is BrokerKind.EXTERNAL:
            logger.warning("an external broker must be told by its owner to reload its accounts")
        elif not self._is_ready:  # SIGHUP would end a program that does not expect it yet
            self._reload_wanted = True
        elif self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        """End the broker, by force after a grace period."""
        self._stopping.set()
        await self._end_process()

    async def _launch(self, port: int) -> None:
        self._is_ready = self._reload_wanted = False
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._command(port), stdin=PIPE, stdout=PIPE, stderr=STDOUT
            )
        except OSError as error:  # such as too many open files, for now
            raise TransportError(
                f"the {self.kind} broker cannot be started: {error.strerror or error}"
            ) from error
        ready = asyncio.Event()
        drain = asyncio.create_task(_log_lines(process, ready), name=f"broker-log-{process.pid}")
        self._drains.add(drain)
        drain.add_done_callback(self._drains.discard)
        try:
            await self._until_ready(port, process, ready)
        except BaseException:  # also when the caller is cancelled: no process is left behind
            await self._end_process()
            raise
        self._is_ready = True
        if self._stopping.is_set():  # stop() came while we waited
            await self._end_process()
        elif self._reload_wanted:  # it may have read the files before they changed
            self.reload()

    def _command(self, port: int) -> list[str]:
        if self.kind is BrokerKind.MOSQUITTO:
            if (program := find_mosquitto()) is None:
                raise MissingExtraError("mosquitto broker", "mosquitto (Debian package)")
            config = write_config(
                self._folder, self._accounts, host=self._host, port=port, limits=self._limits
            )
            guard = [sys.executable, "-m", "fleet.broker.guard", "--"]
            return [*guard, str(program), "-c", str(config)]
        host = f"[{self._host}]" if ":" in self._host else self._host
        return [
            sys.executable, "-m", "fleet.broker", "--die-with-parent",
            "--listen", f"{host}:{port}",
            "--passwd", str(self._accounts.passwd),
            "--acl", str(self._accounts.acl),
            "--max-packet", str(self._limits.max_packet_bytes),
            *([] if is_loopback(self._host) else ["--allow-remote"]),
        ]  # fmt: skip

    async def _until_ready(self, port: int, process: Process, ready: asyncio.Event) -> None:
        waits = {asyncio.create_task(process.wait()), asyncio.create_task(ready.wait())}
        try:
            await asyncio.wait(waits, timeout=SILENT_READY_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if process.returncode is None:
            await self._until_accepting(port)
        if process.returncode is not None:
            raise TransportError(
                f"the {self.kind} broker for {self._host}:{port} ended at once, status "
                f"{process.returncode}: its last words are in the log"
            )

    async def _until_accepting(self, port: int) -> None:
        deadline_s = self._clock.monotonic() + READY_S
        while not await _accepts(self._host, port):
            if self._clock.monotonic() > deadline_s:
                raise TransportError(
                    f"the {self.kind} broker does not accept connections on {self._host}:{port} "
                    f"after {READY_S:.0f} s"
                )
            await asyncio.sleep(POLL_S)

    async def _ended_or_stopping(self) -> bool:
        """Wait until the process ends or ``stop`` is called; return whether it was ``stop``."""
        process = self._process
        if process is None:  # external: nothing to watch; or the last launch failed
            if self.kind is BrokerKind.EXTERNAL:
                await self._stopping.wait()
            return self._stopping.is_set()
        waits = {asyncio.create_task(process.wait()), asyncio.create_task(self._stopping.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return self._stopping.is_set()

    async def _is_stopping_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for order in (process.terminate, process.kill):
            with contextlib.suppress(ProcessLookupError):
                order()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), GRACE_S)
                break
        if self._drains:
            await asyncio.wait(self._drains, timeout=1.0)
        if process.stdin is not None:
            process.stdin.close()


async def _log_lines(process: Process, ready: asyncio.Event) -> None:
    """Move what the broker says into our log, so that its pipe never fills."""
    stream = process.stdout
    if stream is None:
        return
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # a line longer than the reader's buffer; it was thrown away
            continue
        if not line:
            return
        text = line.decode(errors="replace").rstrip()[:LONGEST_LOG_LINE]
        if READY_LINE.search(text):
            ready.set()
        logger.log(_level_of(text), "broker %d: %s", process.pid, text)


def _level_of(line: str) -> int:
    """Return how loud a line of the broker's is; what it does every minute is for -v -v."""
    if "Error:" in line or "ERROR" in line:
        return logging.ERROR
    return logging.WARNING if "Warning:" in line or "WARNING" in line else logging.DEBUG


async def _accepts(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), READY_S)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def free_port(host: str) -> int:
    """Return a TCP port of ``host`` that is free now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
