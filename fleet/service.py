"""The composition root: every part of the server is made, joined and ended here."""

import asyncio
import contextlib
import logging
import secrets
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final

from edgeops.clock import Clock, SystemClock
from edgeops.errors import EdgeOpsError, TransportError
from edgeops.trust import TrustStore, VerifyKey
from fleet import brokers, listen
from fleet.api.app import create_app
from fleet.api.context import ApiContext
from fleet.broker.server import raise_descriptor_limit
from fleet.brokers import RunningBroker
from fleet.config import REMOTE_WARNING, Address, FleetConfig, check
from fleet.db import migrate
from fleet.db.engine import FILE, Database, writer_engine
from fleet.device_http.app import DeviceHttp
from fleet.devices.accounts import AccountsFile
from fleet.devices.assignments import Assigner
from fleet.devices.ringer import Ringer
from fleet.mqtt import MqttAccount
from fleet.registry.blobs import BlobStore
from fleet.registry.push import Pusher
from fleet.rollouts.engine import RolloutEngine
from fleet.state import Endpoints, StateFolder
from fleet.telemetry.ingest import IngestRules
from fleet.ticker import RolloutTicker, forget_in_turns
from fleet.wires import Wires

logger = logging.getLogger(__name__)

READY_S: Final = 20.0


class FleetServer:
    """One server on one state folder; make a new one for each run.

    Args:
        config: As ``fleet.config.load`` gave it.
        state: Held by this server until the caller closes it.
        database: Migrated.
        clock: Wall and monotonic time.
    """

    def __init__(
        self, config: FleetConfig, state: StateFolder, database: Database, clock: Clock
    ) -> None:
        self._config = config
        self._state = state
        self._database = database
        self._clock = clock
        self._release = _release_keys(config)
        self._director = state.director()
        self._login = brokers.login(config.broker)
        self._accounts = AccountsFile(
            database=database,
            folder=state.folder / "broker",
            tenant=config.tenant,
            username=self._login.username,
            password=self._login.password,
        )
        self._blobs = BlobStore(state.folder / "blobs")
        self._device_http = DeviceHttp(database, self._blobs)
        self._ringer = Ringer(database, config.tenant)
        assigner = Assigner(self._director, clock)
        self._ticker = RolloutTicker(
            database=database,
            engine=RolloutEngine(assignments=assigner, clock=clock, owner=secrets.token_hex(8)),
            ringer=self._ringer,
            every_s=config.tick,
        )
        self._assigner = assigner

    async def run(self, stop: asyncio.Event, on_ready: Callable[[Endpoints], None]) -> None:
        """Serve until ``stop`` is set, then end the children.

        Args:
            stop: Ends the server within seconds.
            on_ready: Called once everything listens and the broker has accepted us.

        Raises:
            StorageError: A port is taken.
            TransportError: The broker does not start or refuses us.
            MissingExtraError: Mosquitto was demanded and is not installed.
        """
        config, folder = self._config, self._state.folder
        async with contextlib.AsyncExitStack() as stack:
            api = stack.enter_context(_socket(config.api.listen, "api.listen"))
            device = stack.enter_context(_socket(config.device_http.listen, "device_http.listen"))
            broker = await stack.enter_async_context(
                brokers.running(config, folder / "broker", self._accounts)
            )
            wires = self._wires(broker.address)
            endpoints = Endpoints(
                api=listen.url_of(api),
                device=config.public.url or listen.url_of(device),
                mqtt=config.public.mqtt or str(broker.address),
                broker=broker.child.kind.value,
            )
            app = create_app(self._context(wires, broker, endpoints), self._state.admin_token())
            operators = listen.OperatorServer(app, api)
            await stack.enter_async_context(
                listen.device_server(
                    self._device_http.application(), device, most=_room_for_devices()
                )
            )
            loops = [
                *wires.loops(),
                broker.child.supervise(),
                self._accounts.keep(),
                self._ticker.run(),
                forget_in_turns(self._database, config.retention, self._clock),
            ]
            async with _running(loops, operators):
                await _connected(wires)
                self._state.publish(endpoints)
                on_ready(endpoints)
                await stop.wait()

    def _wires(self, broker: Address) -> Wires:
        config = self._config
        return Wires(
            database=self._database,
            account=MqttAccount(
                host=broker.host,
                port=broker.port,
                username=self._login.username,
                password=self._login.password,
                client_id=f"{self._login.username}-{secrets.token_hex(4)}",
            ),
            rules=IngestRules(
                tenant=config.tenant,
                keep_reports=config.retention.reports_per_device,
                keep_dead=config.retention.dead_letters,
            ),
            ringer=self._ringer,
            on_reported=self._ticker.wake,
            clock=self._clock,
        )

    def _context(self, wires: Wires, broker: RunningBroker, endpoints: Endpoints) -> ApiContext:
        pusher = Pusher(
            database=self._database,
            blobs=self._blobs,
            uploads=self._state.folder / "uploads",
            trust=TrustStore(release=self._release.values()),
            max_bytes=self._config.max_bundle,
            clock=self._clock,
        )
        return ApiContext(
            database=self._database,
            pusher=pusher,
            assigner=self._assigner,
            clock=self._clock,
            tenant=self._config.tenant,
            reserved=self._login.username,
            director=self._director.public,
            release=self._release,
            endpoints=endpoints,
            accounts_changed=self._accounts.refresh,
            gone=wires.forget,
            ring=self._ringer.wake,
            tick=self._ticker.wake,
            live=lambda: {
                "ingest": wires.counts(),
                "device_http": self._device_http.counts,
                "broker": Counter(restarts=broker.child.restarts),
            },
            connected=lambda: wires.connected,
        )


async def serve(
    config: FleetConfig,
    stop: asyncio.Event,
    on_ready: Callable[[Endpoints], None],
    *,
    clock: Clock | None = None,
) -> None:
    """Run one server from its state folder; see ``FleetServer.run``.

    Raises:
        UsageError: An address that others reach, without ``allow_remote``.
        StorageError: The state folder is in use or not writable.
        ContractError: The configuration or a key file is damaged.
    """
    check(config)
    if config.allow_remote:
        logger.warning(REMOTE_WARNING)
    with contextlib.closing(StateFolder(config.state())) as state:
        _migrate(state.folder / FILE)
        with contextlib.closing(Database(state.folder / FILE)) as database:
            server = FleetServer(config, state, database, clock or SystemClock())
            await server.run(stop, on_ready)


def _room_for_devices() -> int:
    """Return how many connections of devices leave descriptors for everything else."""
    return min(listen.MAX_DEVICES, raise_descriptor_limit() * 3 // 4)


def _migrate(path: Path) -> None:
    engine = writer_engine(path)
    try:
        before, after = migrate.upgrade(engine)
    finally:
        engine.dispose()
    if before != after:
        logger.info("the database is at revision %s (was: %s)", after, before or "empty")


def _release_keys(config: FleetConfig) -> dict[str, VerifyKey]:
    keys = [VerifyKey.load(Path(path)) for path in config.trust.release]
    if not keys:
        logger.warning("trust.release names no key: no bundle can be pushed")
    return {key.keyid: key for key in keys}


def _socket(text: str, what: str) -> socket.socket:
    return listen.bound(Address.parse(text, what=what))


async def _connected(wires: Wires) -> None:
    try:
        await asyncio.wait_for(wires.wait_connected(), READY_S)
    except TimeoutError as error:
        raise TransportError(f"the broker did not accept us within {READY_S:.0f} s") from error


@contextlib.asynccontextmanager
async def _running(
    loops: Sequence[Coroutine[None, None, None]], operators: listen.OperatorServer
) -> AsyncIterator[None]:
    """Run ``loops`` beside the body: one that fails ends the body, the body's end ends all."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop) for loop in loops]
            group.create_task(operators.run_on_our_socket())
            try:
                yield
            finally:
                operators.should_exit = True  # it lets requests under way finish
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as failures:
        ours = failures.subgroup(EdgeOpsError)
        if ours is None or failures.split(EdgeOpsError)[1] is not None:
            raise
        raise _first(ours) from failures


def _first(failures: BaseExceptionGroup[EdgeOpsError]) -> EdgeOpsError:
    first = failures.exceptions[0]
    return first if isinstance(first, EdgeOpsError) else _first(first)
