"""The one thread that writes the outbox, and what it does when the disk refuses."""

import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.outbox.counters import OutboxCounters
from agent.outbox.disk_error import cause_of, is_damage
from agent.outbox.limits import OutboxLimits
from agent.outbox.memory import Waiting
from agent.outbox.packing import Span
from agent.outbox.recovery import open_store
from agent.outbox.store import Store, StoredWindow
from agent.supervision import Guard, bare
from edgeops.backoff import Backoff
from edgeops.clock import Clock

logger = logging.getLogger(__name__)

ALERTS_PER_COMMIT: Final = 100
ACKS_PER_COMMIT: Final = 1000
ROOM_SHARE: Final = 10
"""A tenth of the windows goes where SQLite says that its file is full."""


class Writer:
    """Commits what waits in memory; one thread, one connection.

    Args:
        path: The database.
        boot: Id of this start of the agent.
        limits: Bounds on disk and in memory.
        clock: Times the commits.
        waiting: What to write; guarded by ``changed``.
        changed: Notified when something arrives, and by the writer after each round.
        guarded: Runs the thread's body and survives our own bugs.

    Within one boot numbers go on even where the database had to be begun afresh.

    Attributes:
        on_open: Called when the database was opened, perhaps a new one.
        on_commit: Called after each round that wrote something, without the lock.
        notices: What had to be done to open the database, in sentences.
    """

    def __init__(
        self,
        path: Path,
        *,
        boot: str,
        limits: OutboxLimits,
        clock: Clock,
        waiting: Waiting,
        changed: threading.Condition,
        guarded: Guard = bare,
    ) -> None:
        self._path = path
        self._boot = boot
        self._limits = limits
        self._clock = clock
        self._waiting = waiting
        self._changed = changed
        self._store: Store | None = None
        self._next_seq: dict[str, int] = {}
        self._counts = OutboxCounters()
        self._write_errors: Counter[str] = Counter()
        self._shed: Counter[str] = Counter()
        self._spans: tuple[Span, ...] = ()
        self._flush = False
        self._stop = False
        self._rounds = 0
        self._thread = threading.Thread(
            target=guarded, args=("outbox", self._run), name="outbox", daemon=True
        )
        self.on_open: Callable[[], None] | None = None
        self.on_commit: Callable[[], None] | None = None
        self.notices: tuple[str, ...] = ()

    def open(self) -> dict[str, bytes]:
        """Open the database before the thread starts; return the saved states.

        Where the disk does not allow it the thread goes on trying; nothing is raised.
        """
        try:
            store = self._opened()
            states = store.states()
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            self.notices = (*self.notices, f"the outbox cannot be opened: {error}")
            return {}
        self._publish(store)
        return states

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Commit what waits as far as the disk lets us, and end the thread."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        elif self._store is not None:  # never started
            self._store.close()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was taken is on disk; return whether it is."""
        deadline = self._clock.monotonic() + timeout_s
        with self._changed:
            # A round that runs now may have taken its batch before the last call.
            target = self._rounds + 2
            while self._rounds < target or not self._waiting.empty:
                left = deadline - self._clock.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    break
                self._flush = True
                self._changed.notify_all()
                self._changed.wait(min(left, 0.2))
            return self._waiting.empty

    def spans(self) -> tuple[Span, ...]:
        """Return what is held per stream; called under the lock."""
        return self._spans

    def counters(self) -> OutboxCounters:
        """Return the counters; called under the lock."""
        return replace(
            self._counts,
            alerts_in_memory=len(self._waiting.alerts),
            dropped=dict(self._waiting.dropped),
            shed=dict(self._shed),
            write_errors=dict(self._write_errors),
        )

    def _run(self) -> None:
        heal = Backoff(base_s=0.5, cap_s=30.0)
        batch_at = self._clock.monotonic() + self._limits.batch
        retry_at = 0.0
        stop = False
        while not stop:
            with self._changed:
                now = self._clock.monotonic()
                asked = self._flush or self._stop
                urgent = asked or (bool(self._waiting.alerts) and now >= retry_at)
                if not urgent and now < max(batch_at, retry_at):
                    wake = retry_at if self._waiting.alerts else max(batch_at, retry_at)
                    self._changed.wait(max(wake - now, 0.001))
                    continue
                stop, self._flush = self._stop, False
            batch = asked or now >= batch_at
            if self._round(batch=batch):
                heal.lived(heal.stable_s)
                retry_at = 0.0
            else:
                retry_at = self._clock.monotonic() + heal.next_s()
            if batch:
                batch_at = self._clock.monotonic() + self._limits.batch
            with self._changed:
                self._rounds += 1
                self._changed.notify_all()
        if self._store is not None:
            self._store.close()
            self._store = None

    def _round(self, *, batch: bool) -> bool:
        """Write what waits; return whether the disk took it."""
        try:
            store = self._present() or self._opened()
            wrote = self._write_alerts(store)
            if batch:
                wrote = self._write_batch(store) or wrote
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            return False
        if self._waiting.refusal:
            logger.warning("outbox: the disk takes data again")
        self._publish(store)
        if wrote and self.on_commit is not None:
            self.on_commit()
        return True

    def _present(self) -> Store | None:
        if self._store is not None and self._store.is_gone():
            notice = "the outbox was removed while it was in use; a new one was begun"
            logger.warning("%s", notice)
            self.notices = (*self.notices, notice)
            self._counts = replace(self._counts, resets=self._counts.resets + 1)
            self._store.close()
            self._store = None
        return self._store

    def _opened(self) -> Store:
        self._store, notices = open_store(self._path, boot=self._boot, limits=self._limits)
        if notices:
            self.notices = (*self.notices, *notices)
            self._counts = replace(self._counts, resets=self._counts.resets + 1)
        if self.on_open is not None:
            self.on_open()
        return self._store

    def _write_alerts(self, store: Store) -> bool:
        wrote = False
        while True:
            with self._changed:
                batch = list(self._waiting.alerts.values())[:ALERTS_PER_COMMIT]
            if not batch:
                return wrote
            states = {key: data for alert in batch for key, data in alert.states.items()}
            stored = [alert.stored for alert in batch]
            added = self._making_room(store, lambda: store.add_alerts(stored, states))  # noqa: B023
            wrote = True
            with self._changed:
                for alert in batch:
                    if self._waiting.alerts.get(alert.stored.event_id) is alert:
                        del self._waiting.alerts[alert.stored.event_id]
                self._counts = replace(
                    self._counts, alerts_stored=self._counts.alerts_stored + added
                )

    def _write_batch(self, store: Store) -> bool:
        freed = self._write_acks(store)
        self._shed_surplus(store)
        with self._changed:
            windows = list(self._waiting.windows)
            states = dict(self._waiting.states)
        if not windows and not states:
            return freed
        self._making_room(store, lambda: store.add_windows(windows, states, self._next(windows)))
        for window in windows:
            self._next_seq[window.stream] = self._next_seq.get(window.stream, 1) + 1
        with self._changed:
            self._waiting.committed(windows, states)
            self._counts = replace(
                self._counts, windows_stored=self._counts.windows_stored + len(windows)
            )
        return True

    def _next(self, windows: list[StoredWindow]) -> dict[str, int]:
        return {window.stream: self._next_seq.get(window.stream, 1) for window in windows}

    def _write_acks(self, store: Store) -> bool:
        with self._changed:
            streams = dict(self._waiting.acked_streams)
            alerts = list(self._waiting.acked_alerts)[:ACKS_PER_COMMIT]
        if not streams and not alerts:
            return False
        gone, marked = store.acknowledge(streams, alerts)
        with self._changed:
            self._waiting.acknowledged(streams, alerts)
            self._counts = replace(
                self._counts,
                windows_acked=self._counts.windows_acked + gone,
                alerts_acked=self._counts.alerts_acked + marked,
            )
        store.give_back()
        return True

    def _shed_surplus(self, store: Store) -> None:
        surplus = store.surplus()
        if surplus:
            self._shed["quota"] += store.shed(surplus)

    def _making_room(self, store: Store, write: Callable[[], int | None]) -> int:
        """Call ``write``; where the file is full, shed the oldest windows and call once more."""
        try:
            return write() or 0
        except sqlite3.Error as error:
            if cause_of(error) != "full" or not store.windows_held:
                raise
        self._shed["full"] += store.shed(max(1, store.windows_held // ROOM_SHARE))
        return write() or 0

    def _publish(self, store: Store) -> None:
        written = _bytes_written()
        with self._changed:
            self._waiting.refusal = ""
            self._spans = tuple(store.spans[key] for key in sorted(store.spans))
            self._counts = replace(
                self._counts,
                alerts_held=store.unacked,
                windows_held=store.windows_held,
                bytes_used=store.bytes_used(),
                bytes_written=max(self._counts.bytes_written, written),
            )

    def _failed(self, error: sqlite3.Error | OSError) -> None:
        cause = cause_of(error) if isinstance(error, sqlite3.Error) else "io"
        with self._changed:
            first = self._waiting.refusal != cause
            self._waiting.refusal = cause
            self._write_errors[cause] += 1
        if first:
            logger.warning("outbox: the disk refuses (%s): %s", cause, error)
        must_reopen = isinstance(error, sqlite3.Error) and is_damage(error)
        if self._store is not None and (must_reopen or cause in {"io", "cannot_open"}):
            # Opening anew finds out whether the file is damaged, and salvages it.
            self._store.close()
            self._store = None


def _bytes_written() -> int:
    """Return the bytes that this thread has handed to the kernel, 0 where Linux does not say."""
    try:
        text = Path("/proc/thread-self/io").read_text(encoding="ascii")
    except OSError:
        return 0
    found = [line for line in text.splitlines() if line.startswith("wchar:")]
    return int(found[0].split()[1]) if found else 0
