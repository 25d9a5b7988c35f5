"""The device's line to its fleet: says what the outbox holds, hears bells and acknowledgements.

One thread makes sessions, one after the other, with waits that grow and are forgiven only after a
session that lived. Nothing here can stop the agent: without a broker the outbox simply fills.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.broker_address import BrokerAddress
from agent.inbound import Refused, read_message
from agent.mqtt_session import LastWill, Login, MqttSession
from agent.outbox.outbox import Outbox
from agent.outbox.sending import SendPlan, SendRules
from agent.supervision import Guard, bare
from edgeops import codec
from edgeops.backoff import Backoff
from edgeops.clock import Clock
from edgeops.contracts.credential import Credential
from edgeops.contracts.telemetry import Ack
from edgeops.contracts.update import Connection, DeviceReport
from edgeops.errors import TransportError, TrustError
from edgeops.topics import Kind, Topic, filter_for

logger = logging.getLogger(__name__)

STOP_S: Final = 5.0
MAX_WAITING_ACKS: Final = 1000
IDLE_S: Final = 1.0
"""Longest time that the link goes without looking at the outbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRules:
    """Times of the link in seconds.

    Attributes:
        keepalive_s: A half-open line is noticed after twice this.
        retry_base_s: Shortest wait before the next session; the longest is ``retry_cap_s``.
        refused_base_s: The same where the broker refuses our password: nobody is in a hurry.
    """

    keepalive_s: int = 30
    retry_base_s: float = 1.0
    retry_cap_s: float = 60.0
    refused_base_s: float = 30.0
    refused_cap_s: float = 600.0
    send: SendRules = field(default_factory=SendRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """How the link does.

    Attributes:
        since_wall_s: Wall time of the last change between connected and not.
        sent: Messages handed to the broker, by kind.
        acked: Acknowledgements of the server that were taken.
        reconnects: Sessions that stood, less the first.
        failures: Sessions that did not come about or broke, by cause.
        dropped: Messages received and dropped, by cause.
        last_error: One sentence, for people.
    """

    connected: bool = False
    since_wall_s: float = 0.0
    sent: Mapping[str, int] = field(default_factory=dict)
    acked: int = 0
    reconnects: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    last_error: str = ""


class Link:
    """One device's connection to its broker.

    Args:
        address: Where the broker is.
        credential: Who we are.
        outbox: What there is to say.
        connection: Returns what ``conn`` says now.
        on_wake: Called when the server rings, and once per session; must return at once.
        clock: Times repeats and reports.
        rules: Times.
        guarded: Runs the thread's body and survives our own bugs.
    """

    def __init__(
        self,
        *,
        address: BrokerAddress,
        credential: Credential,
        outbox: Outbox,
        connection: Callable[[], Connection],
        on_wake: Callable[[], None],
        clock: Clock,
        rules: LinkRules | None = None,
        guarded: Guard = bare,
    ) -> None:
        self._address = address
        self._credential = credential
        self._outbox = outbox
        self._connection = connection
        self._on_wake = on_wake
        self._clock = clock
        self._rules = rules or LinkRules()
        self._plan = SendPlan(rules=self._rules.send)
        self._changed = threading.Condition()
        self._pending = False
        self._stopping = threading.Event()
        self._acks: list[Ack] = []
        self._report: DeviceReport | None = None
        self._report_due_s = 0.0
        self._report_wait_s = self._rules.send.timeout_s
        self._announced = b""
        self._sent: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._sessions = 0
        self._acked = 0
        self._connected = False
        self._since_wall_s = clock.wall()
        self._last_error = ""
        self._thread = threading.Thread(
            target=guarded, args=("link", self._run), name="link", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._outbox.on_commit(self._wake)
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye where a session stands, and end the thread."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        self._outbox.on_commit(None)
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def report(self, report: DeviceReport) -> None:
        """Send a report until the server has stored it or a newer one takes its place."""
        with self._changed:
            self._report = report
            self._report_due_s = 0.0
            self._report_wait_s = self._rules.send.timeout_s
        self._wake()

    def state(self) -> LinkState:
        """Return how the link does."""
        with self._changed:
            return LinkState(
                connected=self._connected,
                since_wall_s=self._since_wall_s,
                sent=dict(self._sent),
                acked=self._acked,
                reconnects=max(0, self._sessions - 1),
                failures=dict(self._failures),
                dropped=dict(self._dropped),
                last_error=self._last_error,
            )

    def _run(self) -> None:
        retry = Backoff(base_s=self._rules.retry_base_s, cap_s=self._rules.retry_cap_s)
        refused = Backoff(base_s=self._rules.refused_base_s, cap_s=self._rules.refused_cap_s)
        while not self._stopping.is_set():
            began = self._clock.monotonic()
            session = self._new_session()
            try:
                self._converse(session)
                cause, error = "broken", "the line broke"
            except TrustError as refusal:
                cause, error = "refused", str(refusal)
            except TransportError as failure:
                cause, error = "unreachable", str(failure)
            finally:
                session.close(self._goodbye())
            if self._stopping.is_set():
                break
            self._ended(cause, error)
            retry.lived(self._clock.monotonic() - began)
            self._pause((refused if cause == "refused" else retry).next_s())
        self._set_connected(connected=False)

    def _converse(self, session: MqttSession) -> None:
        """Carry one session from CONNECT to its end."""
        tenant, device = self._credential.tenant, self._credential.device
        filters = tuple(
            filter_for(tenant=tenant, kind=kind, device=device) for kind in (Kind.BELL, Kind.ACK)
        )
        session.open(filters)
        self._plan.reset()
        self._announced = b""
        with self._changed:
            self._report_due_s = 0.0
            self._sessions += 1
        self._set_connected(connected=True)
        self._on_wake()  # whatever was rung while we were away
        while session.alive and not self._stopping.is_set():
            self._take_acks()
            self._send(session)
            self._wait_for_news()

    def _send(self, session: MqttSession) -> None:
        self._announce(session)
        self._send_report(session)
        now = self._clock.monotonic()
        room = self._plan.alert_room(now)
        if room:
            for event in self._outbox.unacked_alerts(room, self._plan.alerts_on_the_way(now)):
                if not self._publish(session, Kind.ALERT, codec.canonical(event)):
                    return
                self._plan.sent_alert(event.event_id, now)
        spans = self._outbox.spans()
        while (asked := self._plan.next_frame(spans, now)) is not None:
            packed = self._outbox.frame(asked.span, asked.first)
            if packed is None:
                return  # gone meanwhile; the next look at the outbox knows
            if not self._publish(session, Kind.TELEMETRY, packed.data, packed.frame.stream):
                return
            self._plan.sent_frame(asked, packed.frame.seq_from, packed.frame.seq_to, now)

    def _announce(self, session: MqttSession) -> None:
        said = codec.canonical(self._connection())
        if said != self._announced and self._publish(session, Kind.CONN, said):
            self._announced = said

    def _send_report(self, session: MqttSession) -> None:
        now = self._clock.monotonic()
        with self._changed:
            report, due = self._report, now >= self._report_due_s
        if report is None or not due:
            return
        if self._publish(session, Kind.REPORTED, codec.canonical(report)):
            with self._changed:
                self._report_due_s = now + self._report_wait_s
                self._report_wait_s = min(self._rules.send.cap_s, self._report_wait_s * 2)

    def _publish(self, session: MqttSession, kind: Kind, data: bytes, detail: str = "") -> bool:
        taken = session.publish(self._topic(kind, detail), data, retain=kind is Kind.CONN)
        if taken:
            with self._changed:
                self._sent[kind.value] += 1
        return taken

    def _take_acks(self) -> None:
        with self._changed:
            acks, self._acks = self._acks, []
        for ack in acks:
            self._plan.acknowledged(self._outbox.spans(), ack.boot, ack.streams, ack.alerts)
            self._outbox.acknowledge(ack)
            with self._changed:
                self._acked += 1
                report = self._report
                stored = ack.report_seq
                if (
                    report is not None
                    and stored is not None
                    and ack.boot == report.boot
                    and stored >= report.report_seq
                ):
                    self._report = None

    def _message(self, topic: str, payload: bytes, retained: bool) -> None:
        said = read_message(self._credential, topic, payload, retained=retained)
        if isinstance(said, Refused):
            with self._changed:
                self._dropped[said.cause] += 1
            return
        if isinstance(said, Ack):
            with self._changed:
                if len(self._acks) < MAX_WAITING_ACKS:
                    self._acks.append(said)
                else:
                    self._dropped["ack_queue_full"] += 1
            self._wake()
            return
        self._on_wake()

    def _wait_for_news(self) -> None:
        now = self._clock.monotonic()
        due = self._plan.next_due_s(now)
        with self._changed:
            if self._report is not None:
                due = min(self._report_due_s, due) if due is not None else self._report_due_s
            wait = IDLE_S if due is None else min(IDLE_S, max(0.01, due - now))
            if not self._pending and not self._stopping.is_set():
                self._changed.wait(wait)
            self._pending = False

    def _wake(self) -> None:
        with self._changed:
            self._pending = True
            self._changed.notify_all()

    def _pause(self, wait_s: float) -> None:
        deadline = self._clock.monotonic() + wait_s
        with self._changed:
            while not self._stopping.is_set() and (left := deadline - self._clock.monotonic()) > 0:
                self._changed.wait(left)

    def _ended(self, cause: str, error: str) -> None:
        with self._changed:
            first = self._connected or self._last_error != error
            self._failures[cause] += 1
            self._last_error = error
        self._set_connected(connected=False)
        if first:
            logger.warning("link: %s", error)

    def _set_connected(self, *, connected: bool) -> None:
        with self._changed:
            if connected != self._connected:
                self._connected = connected
                self._since_wall_s = self._clock.wall()
                if connected:
                    self._last_error = ""
                    logger.info("link: connected to %s", self._address)

    def _new_session(self) -> MqttSession:
        login = Login(
            client_id=self._credential.device,
            user=self._credential.device,
            password=self._credential.secret,
        )
        return MqttSession(
            self._address,
            login=login,
            will=LastWill(topic=self._topic(Kind.CONN), payload=self._absent()),
            keepalive_s=self._rules.keepalive_s,
            on_message=self._message,
            on_change=self._wake,
        )

    def _goodbye(self) -> tuple[str, bytes] | None:
        return (self._topic(Kind.CONN), self._absent()) if self._stopping.is_set() else None

    def _absent(self) -> bytes:
        now = self._connection()
        return codec.canonical(Connection(device=now.device, online=False, boot=now.boot))

    def _topic(self, kind: Kind, detail: str = "") -> str:
        tenant, device = self._credential.tenant, self._credential.device
        return str(Topic(tenant=tenant, device=device, kind=kind, detail=detail))
