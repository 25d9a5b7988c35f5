"""The server's end of the line: stores frames, alerts and reports, acknowledges after that."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edgeops import codec
from edgeops.contracts.alert import AlertEvent
from edgeops.contracts.telemetry import Ack, Frame
from edgeops.contracts.update import Connection, DeviceReport
from edgeops.topics import PREFIX, Kind, Topic


@dataclass
class EmulatedIngest:
    """One paho client that speaks the contract as the fleet server does.

    Attributes:
        answers: Whether it acknowledges; a server whose database is away does not.
        windows: Stored sequence numbers by (boot, stream).
        arrived: Messages by kind, repeats among them.
    """

    host: str
    port: int
    user: str
    password: str
    tenant: str
    answers: bool = True
    windows: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    base: dict[tuple[str, str], int] = field(default_factory=dict)
    alerts: dict[str, AlertEvent] = field(default_factory=dict)
    alert_order: list[str] = field(default_factory=list)
    reports: list[DeviceReport] = field(default_factory=list)
    conns: list[Connection] = field(default_factory=list)
    arrived: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Connect and subscribe; returns once the broker has confirmed."""
        ready = threading.Event()
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.user,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        client.username_pw_set(self.user, self.password)
        client.on_connect = lambda c, *_: c.subscribe(f"{PREFIX}/{self.tenant}/+/#", qos=1)
        client.on_subscribe = lambda *_: ready.set()
        client.on_message = lambda _c, _u, message: self._take(
            message.topic, bytes(message.payload)
        )
        client.reconnect_delay_set(0.1, 0.5)  # type: ignore[arg-type]  # seconds may be fractions
        client.connect(self.host, self.port, keepalive=30)
        client.loop_start()
        self._client = client
        assert ready.wait(10.0)

    def stop(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, device: str, kind: Kind, payload: bytes, *, retain: bool = False) -> None:
        """Send anything to a device."""
        topic = Topic(tenant=self.tenant, device=device, kind=kind)
        self._client.publish(str(topic), payload, qos=1, retain=retain).wait_for_publish(10.0)

    def _take(self, topic: str, payload: bytes) -> None:
        place = Topic.parse(topic)
        self.arrived[place.kind.value] += 1
        with self.lock:
            ack = self._stored(place, payload)
        if ack is not None and self.answers:
            answer = Topic(tenant=self.tenant, device=place.device, kind=Kind.ACK)
            self._client.publish(str(answer), codec.canonical(ack), qos=0)

    def _stored(self, place: Topic, payload: bytes) -> Ack | None:
        match place.kind:
            case Kind.TELEMETRY:
                return self._frame(codec.decode(payload, Frame, where="frame"))
            case Kind.ALERT:
                event = codec.decode(payload, AlertEvent, where="alert")
                self.alerts[event.event_id] = event
                self.alert_order.append(event.event_id)
                return Ack(boot=event.boot, alerts=(event.event_id,))
            case Kind.REPORTED:
                report = codec.decode(payload, DeviceReport, where="report")
                self.reports.append(report)
                return Ack(boot=report.boot, report_seq=report.report_seq)
            case Kind.CONN:
                self.conns.append(codec.decode(payload, Connection, where="conn"))
        return None

    def _frame(self, frame: Frame) -> Ack:
        key = (frame.boot, frame.stream)
        seen = self.windows.setdefault(key, set())
        seen |= set(range(frame.seq_from, frame.seq_to + 1))
        upto = max(self.base.get(key, 0), frame.base - 1)
        while upto + 1 in seen:
            upto += 1
        self.base[key] = upto
        return Ack(boot=frame.boot, streams={frame.stream: upto})
