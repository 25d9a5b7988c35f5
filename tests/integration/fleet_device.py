"""A device as the server sees it: real MQTT and HTTP, an outbox freed by acknowledgements."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import paho.mqtt.client as paho
import urllib3
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeops import codec
from edgeops.contracts.alert import AlertEvent
from edgeops.contracts.device_api import ROOT
from edgeops.contracts.telemetry import Ack, Frame
from edgeops.contracts.update import Bell, Connection, DeviceReport, SlotReport
from edgeops.topics import Kind, Topic
from tests.integration.fleet_process import FleetProcess, until

MODEL = "sha256:" + "a" * 64


@dataclass
class Outbox:
    """What a device still holds: windows by number, alerts by event id."""

    windows: set[int] = field(default_factory=set)
    alerts: set[str] = field(default_factory=set)
    next_seq: int = 1


class EmulatedDevice:
    """One device with its own session; keeps its outbox over reconnects.

    Args:
        server: Where it reports.
        credential: What enrolment gave.
        boot: Its boot id.
    """

    def __init__(
        self, server: FleetProcess, credential: dict[str, str], boot: str = "boot1"
    ) -> None:
        self.name = credential["device"]
        self.boot = boot
        self.server = server
        self.secret = credential["secret"]
        self.outbox = Outbox()
        self.acks: list[Ack] = []
        self.bells: list[Bell] = []
        self._report_seq = 0
        self._lock = threading.Lock()
        self._up = threading.Event()
        self._refused = threading.Event()
        self._http = urllib3.PoolManager(
            headers=urllib3.make_headers(basic_auth=f"{self.name}:{self.secret}"), retries=False
        )
        self._client = self._new_client()

    def connect(self) -> None:
        """Connect and wait until the broker has accepted; it reconnects by itself from then on."""
        host, _, port = self.server.endpoints.mqtt.rpartition(":")
        self._client.connect(host, int(port), keepalive=30)
        self._client.loop_start()
        until(self._up.is_set, f"{self.name} is connected")

    def is_refused(self) -> bool:
        """Connect; return whether the broker refused."""
        host, _, port = self.server.endpoints.mqtt.rpartition(":")
        self._client.connect(host, int(port), keepalive=30)
        self._client.loop_start()
        until(lambda: self._up.is_set() or self._refused.is_set(), "the broker answers")
        return self._refused.is_set()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._http.clear()

    def make_windows(self, count: int) -> None:
        """Put windows into the outbox and send everything that it holds."""
        with self._lock:
            first = self.outbox.next_seq
            self.outbox.next_seq += count
            self.outbox.windows |= set(range(first, first + count))
        self.send_all()

    def make_alert(self, number: int) -> None:
        with self._lock:
            self.outbox.alerts.add(f"{self.boot}-{number}")
        self.send_all()

    def send_all(self) -> None:
        """Send the whole outbox, as after a timeout or a reconnect."""
        with self._lock:
            held, alerts = sorted(self.outbox.windows), sorted(self.outbox.alerts)
        for start in range(0, len(held), 20):
            part = held[start : start + 20]
            if part[-1] - part[0] == len(part) - 1:
                self.publish_frame(part[0], part[-1], base=held[0])
            else:
                for seq in part:
                    self.publish_frame(seq, seq, base=held[0])
        for event_id in alerts:
            self.publish("alert", self.alert(event_id))

    def settle(self, *, seconds: float = 30.0) -> None:
        """Send again and again until everything is acknowledged."""
        resend = 0

        def is_empty() -> bool:
            nonlocal resend
            resend += 1
            if resend % 50 == 0:
                self.send_all()
            return not (self.outbox.windows or self.outbox.alerts)

        until(is_empty, f"{self.name}'s outbox is empty: {self.outbox}", seconds=seconds)

    def publish_frame(self, first: int, last: int, *, base: int = 1) -> None:
        count = last - first + 1
        frame = Frame(
            device=self.name,
            boot=self.boot,
            stream="cam",
            seq_from=first,
            seq_to=last,
            base=base,
            t0=float(first),
            model=MODEL,
            columns={
                "t": tuple(float(n) for n in range(first, last + 1)),
                "span_s": (1.0,) * count,
                "frames": tuple(float(n) for n in range(first, last + 1)),
            },
        )
        self.publish("telemetry/cam", frame)

    def report(self, *slots: SlotReport) -> int:
        """Publish a report; return its number."""
        self._report_seq += 1
        self.publish(
            "reported",
            DeviceReport(
                device=self.name, boot=self.boot, report_seq=self._report_seq, slots=slots
            ),
        )
        return self._report_seq

    def publish(self, kind: str, document: object, *, retain: bool = False) -> None:
        data = document if isinstance(document, bytes) else codec.canonical(document)
        self._client.publish(f"eo/1/default/{self.name}/{kind}", data, qos=1, retain=retain)

    def publish_to(self, topic: str, data: bytes) -> None:
        self._client.publish(topic, data, qos=1)

    def get(self, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
        """GET a path of the device side."""
        return self._http.request(
            "GET",
            f"{self.server.endpoints.device}{ROOT}/{path}",
            headers={**self._http.headers, **headers},
        )

    def alert(self, event_id: str) -> AlertEvent:
        return AlertEvent(
            device=self.name,
            boot=self.boot,
            event_id=event_id,
            alert_id=event_id,
            state="raised",
            rule="hot",
            pipeline="belt",
            t=1.0,
            wall=1.0,
            clock="bad",
        )

    def _new_client(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=self.name, clean_session=True)
        client.username_pw_set(self.name, self.secret)
        client.reconnect_delay_set(min_delay=1, max_delay=1)
        gone = Connection(device=self.name, online=False, boot=self.boot)
        topic = str(Topic(tenant="default", device=self.name, kind=Kind.CONN))
        client.will_set(topic, codec.canonical(gone), qos=1, retain=True)

        def on_connect(
            _client: paho.Client,
            _userdata: object,
            _flags: paho.ConnectFlags,
            code: ReasonCode,
            _properties: Properties | None,
        ) -> None:
            if code.is_failure:
                self._refused.set()
                return
            client.subscribe([(f"eo/1/default/{self.name}/{kind}", 1) for kind in ("ack", "bell")])
            here = Connection(device=self.name, online=True, boot=self.boot, agent="emulated")
            client.publish(topic, codec.canonical(here), qos=1, retain=True)
            self._up.set()

        client.on_connect = on_connect
        client.on_message = self._on_message
        return client

    def _on_message(
        self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage
    ) -> None:
        kind = Topic.parse(message.topic).kind
        data = bytes(message.payload)
        if kind is Kind.BELL:
            self.bells.append(codec.decode(data, Bell, where="bell"))
            return
        ack = codec.decode(data, Ack, where="ack")
        with self._lock:
            self.acks.append(ack)
            if ack.boot == self.boot:
                top = ack.streams.get("cam", 0)
                self.outbox.windows = {seq for seq in self.outbox.windows if seq > top}
            self.outbox.alerts -= set(ack.alerts)


@contextmanager
def connected(server: FleetProcess, name: str, *, boot: str = "boot1") -> Iterator[EmulatedDevice]:
    """Enrol a device and connect it."""
    device = EmulatedDevice(server, server.enrol(name), boot)
    try:
        device.connect()
        yield device
    finally:
        device.close()
