"""The outbox: everything the device has to say, kept until the server has stored it.

Callers never wait for the disk: they put into a bounded memory queue and one writer thread
commits. A full, read-only or broken disk costs windows (counted) and keeps alerts in memory until
it heals; it never stops the agent.
"""

import logging
import math
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from agent.outbox.counters import OutboxCounters
from agent.outbox.limits import OutboxLimits
from agent.outbox.memory import MAX_STATES, Waiting, WaitingAlert
from agent.outbox.packing import MAX_WINDOW_BYTES, PackedFrame, Span, pack
from agent.outbox.reading import Reader
from agent.outbox.store import StoredAlert, StoredWindow
from agent.outbox.writer import Writer
from agent.supervision import Guard, bare
from edgeops import codec
from edgeops.clock import Clock
from edgeops.contracts.alert import AlertEvent
from edgeops.contracts.telemetry import Ack, Window
from edgeops.errors import ContractError
from edgeops.topics import ID

logger = logging.getLogger(__name__)

CLOSE_S = 5.0


class Outbox:
    """One device's outbox.

    Args:
        path: The database; made where absent, set aside where damaged.
        device: Device id.
        boot: Id of this start of the agent; windows are numbered from 1 per boot and stream.
        limits: Bounds on disk and in memory.
        clock: Times the commits.
        guarded: Runs the writer thread's body and survives our own bugs.
    """

    def __init__(
        self,
        path: Path,
        *,
        device: str,
        boot: str,
        limits: OutboxLimits,
        clock: Clock,
        guarded: Guard = bare,
    ) -> None:
        self._device = device
        self._changed = threading.Condition()
        self._waiting = Waiting(limits)
        self._reader = Reader(path)
        self._writer = Writer(
            path,
            boot=boot,
            limits=limits,
            clock=clock,
            waiting=self._waiting,
            changed=self._changed,
            guarded=guarded,
        )
        self._writer.on_open = self._reader.close
        self._states = self._writer.open()

    @property
    def notices(self) -> tuple[str, ...]:
        """Return what had to be done to open the database, in sentences for log and alert."""
        return self._writer.notices

    def start(self) -> None:
        """Start the writer thread."""
        self._writer.start()

    def close(self) -> None:
        """Commit what waits, as far as the disk lets us, and stop; a few seconds at most."""
        self._writer.stop(CLOSE_S)
        self._reader.close()

    def on_commit(self, call: Callable[[], None] | None) -> None:
        """Name whom to call, from the writer thread, once there may be more to send."""
        self._writer.on_commit = call

    def put_alert(self, event: AlertEvent, rule_state: Mapping[str, bytes] | None) -> None:
        """Take an alert and the rule states that raised it; both are committed as one.

        Never waits. Figures that are not finite are left out: no alert is lost over them.
        """
        finite = {name: value for name, value in event.evidence.items() if math.isfinite(value)}
        event = replace(event, evidence=finite)
        states = dict(rule_state or {})
        try:
            stored = StoredAlert(event.event_id, codec.canonical(event))
        except ContractError as error:
            logger.warning("alert %s cannot be written: %s", event.event_id, error)
            with self._changed:
                self._waiting.dropped["alert_malformed"] += 1
            return
        with self._changed:
            self._states.update(states)
            self._waiting.add_alert(WaitingAlert(event, stored, states))
            self._changed.notify_all()

    def put_window(self, stream: str, window: Window) -> None:
        """Take a window of ``stream``; never waits."""
        try:
            body = codec.canonical(window)
        except ContractError:
            body = b""
        with self._changed:
            if not body or not ID.fullmatch(stream):
                self._waiting.dropped["window_malformed"] += 1
            elif len(body) > MAX_WINDOW_BYTES:
                self._waiting.dropped["window_too_large"] += 1
            else:
                self._waiting.add_window(StoredWindow(stream, body))

    def save_state(self, key: str, data: bytes) -> None:
        """Keep ``data`` under ``key`` from the next commit on; never waits."""
        with self._changed:
            if key not in self._states and len(self._states) >= MAX_STATES:
                self._waiting.dropped["state_too_many"] += 1
            elif self._waiting.add_state(key, data):
                self._states[key] = data

    def load_state(self, key: str) -> bytes | None:
        """Return what was kept under ``key`` last, committed or not."""
        with self._changed:
            return self._states.get(key)

    def acknowledge(self, ack: Ack) -> None:
        """Free what the server says it has stored; never waits."""
        with self._changed:
            self._waiting.add_ack(ack)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything taken so far is on disk; return whether it is."""
        return self._writer.flush(timeout_s)

    def unacked_alerts(self, limit: int, skip: Collection[str] = ()) -> tuple[AlertEvent, ...]:
        """Return alerts to send, newest first, without those named in ``skip``.

        While the disk refuses them, those in memory are among them: a full disk is no reason
        to keep an alert from the server.
        """
        with self._changed:
            waiting = list(self._waiting.alerts.values()) if self._waiting.refusal else []
            skipped = {*skip, *self._waiting.acked_alerts}
        in_memory = [w.event for w in reversed(waiting) if w.event.event_id not in skipped]
        left = limit - len(in_memory)
        on_disk = self._reader.unacked(left, skipped) if left > 0 else ()
        return (*in_memory[:limit], *on_disk)

    def spans(self) -> tuple[Span, ...]:
        """Return what is still to be acknowledged per stream and boot, oldest first."""
        with self._changed:
            acked = self._waiting.acked_streams
            spans = []
            for span in self._writer.spans():
                low = max(span.low, acked.get((span.boot, span.stream), 0) + 1)
                if low <= span.high:
                    spans.append(replace(span, low=low))
            return tuple(spans)

    def frame(self, span: Span, first: int) -> PackedFrame | None:
        """Return the frame of ``span`` that starts at ``first``, or at the next number held."""
        start, windows = self._reader.windows(span, max(first, span.low))
        return pack(self._device, span, start, windows)

    def recent_alerts(self, limit: int) -> tuple[AlertEvent, ...]:
        """Return the last alerts, acknowledged or not, newest first."""
        with self._changed:
            waiting = [alert.event for alert in reversed(self._waiting.alerts.values())]
        stored = [event for event in self._reader.recent(limit) if event not in waiting]
        return (*waiting, *stored)[:limit]

    def counters(self) -> OutboxCounters:
        """Return what is held, delivered and given up."""
        with self._changed:
            return self._writer.counters()
