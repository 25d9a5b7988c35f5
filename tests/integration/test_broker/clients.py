"""A real paho client and a running broker, made convenient for tests; each ends what it started."""

import asyncio
import queue
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fleet.broker.accounts import BrokerAccounts, write_accounts
from fleet.broker.child import BrokerChild, BrokerKind
from fleet.broker.limits import Limits
from fleet.broker.passwords import hash_password

DEADLINE_S = 10.0
PASSWORD = "secret"
Result = TypeVar("Result")


class Client:
    """One paho client with its network thread.

    Args:
        name: Client id, and user name where ``username`` is not given.
    """

    def __init__(
        self,
        broker: "RunningBroker",
        name: str,
        *,
        username: str | None = None,
        password: str = PASSWORD,
        clean: bool = True,
        will: tuple[str, bytes] | None = None,
        keepalive_s: int = 60,
        manual_ack: bool = False,
    ) -> None:
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.connected: queue.Queue[ReasonCode] = queue.Queue()
        self.session_present = False
        self.gone = threading.Event()
        self._subscribed: queue.Queue[list[ReasonCode]] = queue.Queue()
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=name,
            clean_session=clean,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=manual_ack,
        )
        self.paho.username_pw_set(username or name, password)
        if will is not None:
            self.paho.will_set(will[0], will[1], qos=1, retain=True)
        self.paho.on_connect = self._on_connect
        self.paho.on_message = lambda _client, _data, message: self.messages.put(message)
        self.paho.on_subscribe = lambda _client, _data, _mid, codes, _p: self._subscribed.put(codes)
        self.paho.on_disconnect = lambda *_: self.gone.set()
        self.paho.connect(*broker.address, keepalive=keepalive_s)
        self.paho.loop_start()
        self.code = self.connected.get(timeout=DEADLINE_S)

    def _on_connect(
        self,
        _client: paho.Client,
        _data: object,
        flags: paho.ConnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self.session_present = flags.session_present
        self.connected.put(code)

    def __enter__(self) -> Self:
        assert self.code == 0, f"connection refused: {self.code}"
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def vanish(self) -> None:
        """Lose the connection without a DISCONNECT, as a power cut does."""
        link = self.paho.socket()
        assert isinstance(link, socket.socket)
        link.shutdown(socket.SHUT_RDWR)
        assert self.gone.wait(DEADLINE_S)
        self.paho.loop_stop()

    def subscribe(self, *filters: str, qos: int = 1) -> list[int]:
        self.paho.subscribe([(each, qos) for each in filters])
        return [code.value for code in self._subscribed.get(timeout=DEADLINE_S)]

    def publish(
        self, topic: str, payload: bytes = b"", *, qos: int = 1, retain: bool = False
    ) -> None:
        """Publish and, with QoS 1, wait for the acknowledgement."""
        token = self.paho.publish(topic, payload, qos=qos, retain=retain)
        token.wait_for_publish(DEADLINE_S)
        assert token.is_published()

    def next(self) -> tuple[str, bytes]:
        message = self.messages.get(timeout=DEADLINE_S)
        return message.topic, bytes(message.payload)

    def heard_only(self, marker_from: "Client", topic: str) -> list[tuple[str, bytes]]:
        """Return what came before a marker that is certain to arrive: proof of an absence."""
        marker_from.publish(topic, b"marker")
        heard: list[tuple[str, bytes]] = []
        while (found := self.next()) != (topic, b"marker"):
            heard.append(found)
        return heard


@dataclass
class RunningBroker:
    """A broker child on an event loop of its own, driven from the test's thread."""

    kind: BrokerKind
    folder: Path
    limits: Limits = field(default_factory=Limits)
    users: dict[str, str] = field(default_factory=dict)
    address: tuple[str, int] = ("", 0)

    def __post_init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="broker-under-test")
        self.add_users("fleet", "d1", "d2", "d3")
        self.child = BrokerChild(self.kind, self.folder, self.accounts, limits=self.limits)

    def add_users(self, *names: str, password: str = PASSWORD) -> None:
        self.users |= {name: hash_password(password) for name in names}
        self._write()

    def remove_user(self, name: str) -> None:
        del self.users[name]
        self._write()

    def _write(self) -> None:
        self.accounts: BrokerAccounts = write_accounts(self.folder, self.users, "acme", "fleet")

    def do(self, work: Coroutine[None, None, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def reload(self) -> None:
        self.loop.call_soon_threadsafe(self.child.reload)

    def start(self) -> None:
        self._thread.start()
        self.address = self.do(self.child.start())

    def stop(self) -> None:
        self.do(self.child.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE_S)
        self.loop.close()


@contextmanager
def running(
    kind: BrokerKind, folder: Path, limits: Limits | None = None
) -> Iterator[RunningBroker]:
    broker = RunningBroker(kind, folder, limits or Limits())
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


def until(claim: Callable[[], bool], *, what: str, poll_s: float = 0.02) -> None:
    """Wait until ``claim`` holds."""
    deadline_s = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not claim():
        assert time.monotonic() < deadline_s, f"never happened: {what}"
        pause.wait(poll_s)
