"""One MQTT connection from CONNECT to its end: the only module of the link that knows paho.

A session is never repaired: it ends, and the link makes another. paho's own reconnecting and its
unbounded memory queue are not used.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.broker_address import BrokerAddress
from edgeops.errors import TransportError, TrustError

logger = logging.getLogger(__name__)

CONNECT_S: Final = 10.0
MAX_UNCONFIRMED: Final = 32
_REFUSALS: Final = frozenset({"Bad user name or password", "Not authorized", "Banned"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who connects; the password is left out of ``repr``."""

    client_id: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.client_id!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWill:
    """What the broker says, retained, when the line breaks."""

    topic: str
    payload: bytes


class MqttSession:
    """One connection.

    Args:
        address: Broker.
        login: Client id, user name and password.
        will: Last will.
        keepalive_s: A line that is silent for twice as long is dead.
        on_message: Called with topic, payload and whether it was retained; must not raise.
        on_change: Called when a message left, or the line broke.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        login: Login,
        will: LastWill,
        keepalive_s: int,
        on_message: Callable[[str, bytes, bool], None],
        on_change: Callable[[], None],
    ) -> None:
        self._address = address
        self._keepalive_s = keepalive_s
        self._on_message = on_message
        self._on_change = on_change
        self._answered = threading.Event()
        self._refused = ""
        self._alive = False
        self._unconfirmed: set[int] = set()
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=login.client_id,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.username_pw_set(login.user, login.password)
        client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.max_inflight_messages_set(MAX_UNCONFIRMED)
        client.connect_timeout = CONNECT_S
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._message
        client.on_publish = self._published
        self._client = client

    @property
    def alive(self) -> bool:
        """Return whether the line stands, as far as anyone knows."""
        return self._alive

    @property
    def has_room(self) -> bool:
        """Return whether the line takes more; a stuck one does not."""
        return self._alive and len(self._unconfirmed) < MAX_UNCONFIRMED

    def open(self, filters: tuple[str, ...]) -> None:
        """Connect, wait for the broker's answer and subscribe.

        Raises:
            TransportError: Not reachable, or no answer in time.
            TrustError: The broker refuses this user name or password.
        """
        context = None
        try:
            context = self._address.context()
            if context is not None:
                self._client.tls_set_context(context)
            self._client.connect(self._address.host, self._address.port, self._keepalive_s)
        except (OSError, ValueError) as error:
            if context is not None:
                context.close_last()
            raise TransportError(f"cannot reach {self._address}: {error}") from error
        self._client.loop_start()
        if not self._answered.wait(CONNECT_S):
            raise TransportError(f"{self._address} does not answer")
        if self._refused in _REFUSALS:
            raise TrustError(f"{self._address} refuses this device: {self._refused}")
        if self._refused or not self._alive:
            raise TransportError(f"{self._address}: {self._refused or 'connection lost'}")
        for subscription in filters:
            self._client.subscribe(subscription, qos=1)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Hand one QoS 1 message to the line; return whether it was taken."""
        if not self.has_room:
            return False
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        if not info.is_published():
            self._unconfirmed.add(info.mid)
            if info.is_published():  # confirmed between the two lines
                self._unconfirmed.discard(info.mid)
        return True

    def close(self, goodbye: tuple[str, bytes] | None = None) -> None:
        """End the session; ``goodbye`` (topic, retained payload) goes out first."""
        if goodbye is not None and self._alive:
            info = self._client.publish(*goodbye, qos=1, retain=True)
            if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
                try:
                    info.wait_for_publish(1.0)
                except (RuntimeError, ValueError):
                    logger.info("no goodbye to %s: the line broke", self._address)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._refused = str(reason)
        else:
            self._alive = True
        self._answered.set()

    def _disconnected(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._alive = False
        if not self._answered.is_set():
            self._refused = str(reason)
            self._answered.set()
        self._on_change()

    def _message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        self._on_message(topic, bytes(message.payload), message.retain)

    def _published(
        self,
        _client: mqtt.Client,
        _userdata: object,
        mid: int,
        _reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        self._unconfirmed.discard(mid)
        self._on_change()
