"""Our session with the broker: paho on asyncio, without paho's own loop.

Paho's loop is ``select()``, which hangs beyond 1023 descriptors; here its socket is watched by
the event loop. A message is acknowledged to the broker by whoever stored it, through ``Delivery``.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeops.backoff import Backoff
from edgeops.clock import Clock
from edgeops.errors import EdgeOpsError, TransportError

logger = logging.getLogger(__name__)

KEEPALIVE_S: Final = 30
CONNACK_S: Final = 10.0
MISC_S: Final = 1.0
MAX_IN_FLIGHT: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttAccount:
    """Where the broker is and who we are there."""

    host: str
    port: int
    username: str
    password: str
    client_id: str

    def __repr__(self) -> str:
        return f"MqttAccount({self.username!r} at {self.host}:{self.port})"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a received message is acknowledged: good for the connection it came over."""

    session: int
    mid: int
    qos: int


class MqttSession:
    """Keeps a session up and hands messages over.

    Args:
        filters: Subscribed to with QoS 1 after every connect.
        on_message: Topic, payload and delivery of each message; called in the event loop.
        on_up: Awaited after every connect, before anything is subscribed to.
        on_taken: Called with the number that ``publish`` gave once the broker has the message.
    """

    def __init__(
        self,
        *,
        account: MqttAccount,
        filters: Sequence[str],
        on_message: "Callable[[str, bytes, Delivery], None]",
        on_up: "Callable[[], object]",
        on_taken: Callable[[int], None],
        clock: Clock,
        backoff: Backoff | None = None,
    ) -> None:
        self._account = account
        self._filters = tuple(filters)
        self._on_message = on_message
        self._on_up = on_up
        self._on_taken = on_taken
        self._clock = clock
        self._backoff = backoff or Backoff(base_s=0.1, cap_s=5.0)
        self._session = 0
        self._client: paho.Client | None = None
        self._socket: int | None = None
        self._reading = False
        self._ended = asyncio.Event()
        self._connected = asyncio.Event()
        self._refused = asyncio.Event()
        self._refusal = ""
        self.reconnects = 0

    @property
    def connected(self) -> bool:
        """Return whether the broker has accepted us and we are subscribed."""
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Wait until the session is up.

        Raises:
            TransportError: The broker refuses our account or a subscription.
        """
        waits = {
            asyncio.create_task(self._connected.wait()),
            asyncio.create_task(self._refused.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self.connected:
            raise TransportError(f"the broker refuses the account {self._account}: {self._refusal}")

    async def run(self) -> None:
        """Keep the session up until cancelled."""
        while True:
            started_s = self._clock.monotonic()
            try:
                await self._one_session()
            except (OSError, EdgeOpsError) as error:  # ours: ``on_up`` could not do its work
                logger.warning("no session with the broker %s: %s", self._account, error)
            finally:
                self._connected.clear()
                self._drop()
            self._backoff.lived(self._clock.monotonic() - started_s)
            self.reconnects += 1
            await asyncio.sleep(self._backoff.next_s())

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int | None:
        """Send a message; return its number, or ``None`` where there is no session."""
        if self._client is None or not self._connected.is_set():
            return None
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def acknowledge(self, delivery: Delivery) -> None:
        """Tell the broker that a message is stored; no effect on a later session."""
        if self._client is not None and delivery.session == self._session and delivery.qos:
            self._client.ack(delivery.mid, delivery.qos)

    def pause(self) -> None:
        """Stop reading: the broker and the devices hold what follows."""
        if self._reading and self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._reading = False

    def resume(self) -> None:
        """Read again."""
        if not self._reading and self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._readable)
            self._reading = True

    async def _one_session(self) -> None:
        self._session += 1
        self._ended.clear()
        accepted, granted = asyncio.Event(), asyncio.Event()
        self._client = client = self._new_client(accepted, granted)
        # Resolving names and connecting would block the loop.
        await asyncio.to_thread(client.connect, self._account.host, self._account.port, KEEPALIVE_S)
        self._watch(client)
        await self._first_of(accepted, CONNACK_S)
        if self._ended.is_set() or not accepted.is_set():
            raise ConnectionError("it did not accept us")
        up = self._on_up()
        if asyncio.iscoroutine(up):
            await up
        client.subscribe([(pattern, 1) for pattern in self._filters])
        # A session in which nothing can be heard would look well and lose everything.
        await self._first_of(granted, CONNACK_S)
        if self._ended.is_set() or not granted.is_set():
            raise ConnectionError("it did not grant what we subscribe to")
        self._refused.clear()
        self._connected.set()
        account = self._account
        logger.info(
            "session %d with the broker at %s:%d", self._session, account.host, account.port
        )
        while not self._ended.is_set():
            client.loop_misc()
            await self._first_of(self._ended, MISC_S)
        raise ConnectionError("it ended")

    def _new_client(self, accepted: asyncio.Event, granted: asyncio.Event) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._account.client_id,
            protocol=paho.MQTTv311,
            clean_session=True,  # what we have not acknowledged, the devices still hold
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.username_pw_set(self._account.username, self._account.password)
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        client.max_queued_messages_set(10 * MAX_IN_FLIGHT)
        session = self._session

        def on_connect(
            _client: paho.Client,
            _userdata: object,
            _flags: paho.ConnectFlags,
            code: ReasonCode,
            _properties: Properties | None,
        ) -> None:
            if code.is_failure:
                self._refuse(str(code))
            else:
                accepted.set()

        def on_subscribe(
            _client: paho.Client,
            _userdata: object,
            _mid: int,
            codes: list[ReasonCode],
            _properties: Properties | None,
        ) -> None:
            answers = zip(self._filters, codes, strict=False)
            if refused := [pattern for pattern, code in answers if code.is_failure]:
                self._refuse(f"we may not read {', '.join(refused)}")
            else:
                granted.set()

        def on_disconnect(
            _client: paho.Client,
            _userdata: object,
            _flags: paho.DisconnectFlags,
            _code: ReasonCode,
            _properties: Properties | None,
        ) -> None:
            self._ended.set()

        def on_message(_client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
            delivery = Delivery(session, message.mid, message.qos)
            self._on_message(message.topic, bytes(message.payload), delivery)

        def on_publish(
            _client: paho.Client,
            _userdata: object,
            mid: int,
            _code: ReasonCode,
            _properties: Properties,
        ) -> None:
            self._on_taken(mid)

        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_disconnect = on_disconnect
        client.on_message = on_message
        client.on_publish = on_publish
        return client

    def _refuse(self, reason: str) -> None:
        logger.error("the broker refuses us: %s", reason)
        self._refusal = reason
        self._refused.set()
        self._ended.set()

    def _watch(self, client: paho.Client) -> None:
        connection = client.socket()
        if connection is None:
            raise ConnectionError("the connection ended at once")
        self._socket = connection.fileno()
        self.resume()
        loop, descriptor = asyncio.get_running_loop(), self._socket

        def wants_write(*_: object) -> None:
            if self._client is client:
                loop.add_writer(descriptor, self._writable)

        def wants_no_write(*_: object) -> None:
            if self._client is client:
                loop.remove_writer(descriptor)

        def closing(*_: object) -> None:
            # Called before the descriptor can be used again by somebody else.
            if self._client is client:
                self._unwatch()

        client.on_socket_register_write = wants_write
        client.on_socket_unregister_write = wants_no_write
        client.on_socket_close = closing
        if client.want_write():
            wants_write()

    def _unwatch(self) -> None:
        if self._socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
        self._socket, self._reading = None, False

    def _readable(self) -> None:
        client = self._client
        if client is None:
            return
        try:
            code = client.loop_read()
        except UnicodeDecodeError as error:  # a topic that is no text: our broker sends none
            logger.warning("the broker sent a topic that is no text: %s", error)
            self._ended.set()
            return
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._ended.set()

    def _writable(self) -> None:
        if self._client is not None and self._client.loop_write() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._ended.set()

    async def _first_of(self, event: asyncio.Event, seconds: float) -> None:
        waits = {asyncio.create_task(event.wait()), asyncio.create_task(self._ended.wait())}
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _drop(self) -> None:
        client = self._client
        if client is None:
            return
        with contextlib.suppress(OSError):
            client.disconnect()
        self._unwatch()
        self._client = None
        connection = client.socket()
        if connection is not None:
            connection.close()
