"""The broker as an asyncio server: listening, housekeeping, reload, ``$SYS`` figures."""

import asyncio
import logging
import resource
import socket
from pathlib import Path
from typing import Final

import edgeops
from edgeops.clock import Clock, SystemClock
from edgeops.errors import EdgeOpsError, TransportError
from fleet.broker.admission import Admission
from fleet.broker.connection import Connection, Hub
from fleet.broker.limits import Close, Limits, Tally
from fleet.broker.router import Router

logger = logging.getLogger(__name__)

SWEEP_S: Final = 1.0
FIGURES_S: Final = 10.0
BACKLOG: Final = 1024
"""Connections the kernel holds for us: with Mosquitto's 100 a whole fleet that comes back at once
loses SYNs and waits a second."""
SPARE_DESCRIPTORS: Final = 64


class Server:
    """An MQTT 3.1.1 broker on one port.

    Args:
        passwd: Password file; None: nobody has a password.
        acl: Access file; None: everyone admitted may do everything.
        allow_anonymous: Clients without a user name may connect.

    Raises:
        StorageError: A file cannot be read.
        ContractError: A line of a file is not understood.
    """

    def __init__(
        self,
        *,
        passwd: Path | None = None,
        acl: Path | None = None,
        allow_anonymous: bool = False,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._passwd = passwd
        self._acl = acl
        self._allow_anonymous = allow_anonymous
        limits = limits or Limits()
        tally = Tally()
        self.hub = Hub(
            limits=limits,
            tally=tally,
            router=Router(limits, tally),
            clock=clock or SystemClock(),
            admission=Admission.read(passwd, acl, allow_anonymous=allow_anonymous),
        )
        self._started_s = self.hub.clock.monotonic()
        self._listener: asyncio.Server | None = None
        self._housekeeping: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; port 0 takes any free one. Return the address clients connect to.

        Raises:
            TransportError: The address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(
                self._accept, host, port, backlog=BACKLOG, reuse_address=True
            )
        except OSError as error:
            raise TransportError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self._housekeeping = asyncio.create_task(self._keep_house(), name="broker-housekeeping")
        address = self._listener.sockets[0].getsockname()
        return str(address[0]), int(address[1])

    async def wait(self, ended: asyncio.Event) -> None:
        """Return once ``ended`` is set; raise whatever ended the housekeeping before.

        Without it dead clients would stay for ever: better no broker, which is started again.
        """
        if self._housekeeping is None:
            raise RuntimeError("not started")
        waiting = asyncio.create_task(ended.wait())
        await asyncio.wait({waiting, self._housekeeping}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._housekeeping.done():
            self._housekeeping.result()

    async def stop(self) -> None:
        """End every connection, without last wills: the broker is what goes, not the clients."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.wait({self._housekeeping})
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.hub.connections):
            connection.close(Close.STOPPING)

    def reload(self) -> None:
        """Read both files again; put out who is no longer known or has another password.

        A file with a mistake changes nothing: the fleet goes on with the last good one.
        """
        try:
            fresh = Admission.read(self._passwd, self._acl, allow_anonymous=self._allow_anonymous)
        except EdgeOpsError as error:
            logger.error("reload refused, the old files stay in force: %s", error)  # noqa: TRY400
            return
        old, self.hub.admission = self.hub.admission, fresh
        for session in self.hub.router.sessions():
            name = session.username
            if name is not None and fresh.stored(name) != old.stored(name):
                logger.info("user %r was revoked or has a new password", name)
                if session.link is not None:
                    session.link.close(Close.REVOKED)
                self.hub.router.discard(session)
            else:
                permissions = fresh.permissions(name, session.client_id)
                self.hub.router.repermit(session, permissions)
        logger.info("reloaded: %d users", len(fresh.passwords.users))

    def _accept(self) -> Connection:
        return Connection(self.hub)

    async def _keep_house(self) -> None:
        next_figures_s = 0.0
        while True:
            now_s = self.hub.clock.monotonic()
            self.sweep(now_s)
            if now_s >= next_figures_s:
                self.publish_figures(now_s)
                next_figures_s = now_s + FIGURES_S
            await asyncio.sleep(SWEEP_S)

    def sweep(self, now_s: float) -> None:
        """End silent connections and forget sessions that expired."""
        for connection in list(self.hub.connections):
            connection.close_if_silent(now_s)
        self.hub.router.expire(now_s)

    def publish_figures(self, now_s: float) -> None:
        """Publish the counters, retained, below ``$SYS/broker/``."""
        tally, router = self.hub.tally, self.hub.router
        sessions = list(router.sessions())
        figures: dict[str, int | str] = {
            "version": f"edgeops {edgeops.__version__}",
            "uptime": f"{int(now_s - self._started_s)} seconds",
            "clients/connected": sum(session.link is not None for session in sessions),
            "clients/total": len(sessions),
            "messages/received": tally.messages_received,
            "messages/sent": tally.messages_sent,
            "messages/dropped": sum(tally.dropped.values()),
            "publish/messages/dropped": sum(tally.dropped.values()),  # Mosquitto's name
            "messages/waiting": sum(session.queued for session in sessions),
            "bytes/received": tally.bytes_received,
            "bytes/sent": tally.bytes_sent,
            "retained messages/count": len(router.retained),
        }
        figures |= {f"dropped/{cause}": count for cause, count in tally.dropped.items()}
        figures |= {f"closed/{cause}": count for cause, count in tally.closed.items()}
        for name, value in figures.items():
            router.publish(
                topic=f"$SYS/broker/{name}", payload=str(value).encode(), qos=0, retain=True
            )


def raise_descriptor_limit() -> int:
    """Let this process open as many files as the system allows; return how many clients fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return (
        max(hard - SPARE_DESCRIPTORS, 1)
        if hard != resource.RLIM_INFINITY
        else Limits().max_connections
    )


def is_loopback(host: str) -> bool:
    """Return whether every address that ``host`` stands for stays on this machine.

    Raises:
        TransportError: The name cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise TransportError(f"cannot resolve {host!r}: {error.strerror}") from error
    addresses = [str(entry[4][0]) for entry in found]
    return bool(host) and all(one.startswith("127.") or one == "::1" for one in addresses)
