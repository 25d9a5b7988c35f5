"""One batch of messages into one transaction; what is acknowledged follows from it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError

from edgeops.contracts.alert import AlertEvent
from edgeops.contracts.telemetry import Ack, Frame
from edgeops.contracts.update import Connection as DeviceConnection
from fleet import audit
from fleet.alerts import store as alerts
from fleet.db.schema import device
from fleet.devices import reports
from fleet.telemetry import deadletters, totals
from fleet.telemetry.frames import FrameWriter
from fleet.telemetry.messages import (
    AlertKey,
    Cause,
    FrameKey,
    Incoming,
    Refused,
    ReportKey,
    unstorable,
)
from fleet.telemetry.totals import Sums

_UNSTORABLE: Final = (IntegrityError, DataError, InterfaceError, OverflowError, UnicodeError)


@dataclass(slots=True)
class _Answer:
    """What one boot of one device will hear."""

    streams: dict[str, int] = field(default_factory=dict)
    alerts: list[str] = field(default_factory=list)
    report_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch came to.

    Attributes:
        acks: Device and what it may delete now.
        reported: A device said something that a rollout may wait for.
        counts: What was stored, repeated and refused, by name.
    """

    acks: tuple[tuple[str, Ack], ...]
    reported: bool
    counts: dict[str, int]


def store(
    connection: Connection,
    batch: Sequence[Incoming | Refused],
    *,
    now_s: float,
    keep_reports: int,
    keep_dead: int,
) -> Outcome:
    """Store a batch; one message that the database does not take spoils no other.

    Args:
        connection: Inside a write transaction.
        batch: In the order of arrival.
        now_s: Wall seconds.
        keep_reports: Reports per device that stay readable.
        keep_dead: Messages set aside that stay readable.
    """
    known = _known_devices(connection, {message.device for message in batch})
    taken: list[Incoming] = []
    refused: list[Refused] = []
    for message in batch:
        if isinstance(message, Refused):
            refused.append(message)
        elif message.device not in known:
            refused.append(
                Refused(message.raw, Cause.UNKNOWN_DEVICE, "is not enrolled", message.device)
            )
        else:
            taken.append(message)
    salvage = [message for message in refused if message.device in known]
    try:
        with connection.begin_nested():
            writer = _write(connection, taken, salvage, now_s, keep_reports)
    except _UNSTORABLE:
        taken, bad = _sorted_out(connection, taken, now_s, keep_reports)
        refused += bad
        writer = _write(connection, taken, salvage + bad, now_s, keep_reports)
    deadletters.add(connection, refused, now_s=now_s, keep=keep_dead)
    counts = writer.counts + Counter(f"refused.{message.cause}" for message in refused)
    audit.count(connection, counts)
    return Outcome(writer.acks(), writer.reported, dict(counts))


def _write(
    connection: Connection,
    taken: Sequence[Incoming],
    refused: Sequence[Refused],
    now_s: float,
    keep_reports: int,
) -> "_Batch":
    writer = _Batch(connection, now_s, keep_reports)
    for message in taken:
        writer.take(message)
    for bad in refused:
        writer.give_up(bad)
    writer.finish()
    return writer


class _Batch:
    """Writes messages one by one and remembers what must be answered."""

    def __init__(self, connection: Connection, now_s: float, keep_reports: int) -> None:
        self._connection = connection
        self._now_s = now_s
        self._keep_reports = keep_reports
        self._frames = FrameWriter(connection, now_s)
        self._sums: dict[totals.Key, Sums] = {}
        self._seen: set[str] = set()
        self._answers: dict[tuple[str, str], _Answer] = {}
        self.counts: Counter[str] = Counter()
        self.reported = False

    def take(self, message: Incoming) -> None:
        document, body = message.document, message.raw.payload
        self._seen.add(message.device)
        if isinstance(document, Frame):
            self._take_frame(document, body)
        elif isinstance(document, AlertEvent):
            new = alerts.add(self._connection, document, body, now_s=self._now_s)
            self.counts[f"stored.alerts_{document.state}" if new else "repeated.alerts"] += 1
            self._answer(document.device, document.boot).alerts.append(document.event_id)
        elif isinstance(document, DeviceConnection):
            if reports.apply_connection(self._connection, document, now_s=self._now_s):
                self.reported = True
        else:
            highest = reports.apply_report(
                self._connection, document, body, now_s=self._now_s, keep=self._keep_reports
            )
            new = highest == document.report_seq
            self.counts["stored.reports" if new else "repeated.reports"] += 1
            self._answer(document.device, document.boot).report_seq = highest
            self.reported = True

    def give_up(self, message: Refused) -> None:
        """Answer for what can still be named in a bad message."""
        key = message.key
        if isinstance(key, FrameKey):
            self._frames.give_up(key)
        elif isinstance(key, AlertKey):
            self._answer(key.device, key.boot).alerts.append(key.event_id)
        elif isinstance(key, ReportKey):
            answer = self._answer(key.device, key.boot)
            answer.report_seq = max(answer.report_seq or 0, key.report_seq)

    def finish(self) -> None:
        """Write what was gathered over the batch."""
        totals.add(self._connection, self._sums, now_s=self._now_s)
        for (name, boot, stream), contiguous in self._frames.finish().items():
            self._answer(name, boot).streams[stream] = contiguous
        if self._seen:
            self._connection.execute(
                update(device).where(device.c.id.in_(self._seen)).values(last_seen_s=self._now_s)
            )

    def acks(self) -> tuple[tuple[str, Ack], ...]:
        return tuple(
            (
                name,
                Ack(
                    boot=boot,
                    streams=answer.streams,
                    alerts=tuple(dict.fromkeys(answer.alerts)),
                    report_seq=answer.report_seq,
                ),
            )
            for (name, boot), answer in self._answers.items()
        )

    def _take_frame(self, frame: Frame, body: bytes) -> None:
        windows = frame.seq_to - frame.seq_from + 1
        for part in self._frames.add(frame, body):
            stored = part.seq_to - part.seq_from + 1
            windows -= stored
            self.counts["stored.windows"] += stored
            self.counts["stored.frames"] += 1
            self._sums.setdefault((part.device, part.stream, part.model), Sums()).add(part)
        self.counts["repeated.windows"] += windows

    def _answer(self, name: str, boot: str) -> _Answer:
        return self._answers.setdefault((name, boot), _Answer())


def _sorted_out(
    connection: Connection, messages: Sequence[Incoming], now_s: float, keep_reports: int
) -> tuple[list[Incoming], list[Refused]]:
    """Try each message alone and undo it; return those that went and those that did not."""
    good: list[Incoming] = []
    bad: list[Refused] = []
    for message in messages:
        trial = connection.begin_nested()
        try:
            _write(connection, [message], [], now_s, keep_reports)
        except _UNSTORABLE as error:
            bad.append(unstorable(message, type(error).__name__))
        else:
            good.append(message)
        finally:
            trial.rollback()
    return good, bad


def _known_devices(connection: Connection, names: set[str]) -> set[str]:
    rows = connection.execute(
        select(device.c.id).where(device.c.id.in_(names), device.c.decommissioned_s.is_(None))
    )
    return {row.id for row in rows}
