"""The outbox's tables: one writing connection, used by the writer thread alone.

Alerts commit with ``synchronous=FULL`` at once: when the call returns they survive a power cut.
Windows commit in batches at NORMAL: a cut may lose the last batch, never the file. Every method
raises ``sqlite3.Error``; the caller decides what a full or damaged disk means.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.outbox import policy
from agent.outbox.disk_error import DamagedError
from agent.outbox.limits import OutboxLimits
from agent.outbox.packing import Span
from edgeops.failpoint import hit

SCHEMA: Final = 1

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS alert(
  id INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, body BLOB NOT NULL,
  acked INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS alert_unacked ON alert(id) WHERE acked = 0;
CREATE TABLE IF NOT EXISTS stream(
  id INTEGER PRIMARY KEY, boot TEXT NOT NULL, name TEXT NOT NULL,
  shed INTEGER NOT NULL DEFAULT 0, UNIQUE(boot, name));
CREATE TABLE IF NOT EXISTS window(
  id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS window_place ON window(stream, seq);
CREATE TABLE IF NOT EXISTS kv(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""

_NAMES: Final = frozenset({"alert", "stream", "window", "kv"})


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert as it goes to disk."""

    event_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredWindow:
    """A window as it goes to disk."""

    stream: str
    body: bytes


class Store:
    """One open database; owned by the thread that writes.

    Attributes:
        spans: What is held per stream, by the stream's key; true after every call.
    """

    def __init__(self, path: Path, *, boot: str, limits: OutboxLimits) -> None:
        self._path = path
        self._boot = boot
        self._limits = limits
        self.spans: dict[int, Span] = {}
        self.unacked = 0
        self._history = 0
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2)
        try:
            self._prepare()
            self._load()
            self._inode = path.stat().st_ino
        except (sqlite3.Error, OSError):
            self._db.close()
            raise

    def is_gone(self) -> bool:
        """Return whether someone removed or replaced a file: SQLite would write into nowhere."""
        try:
            log = Path(f"{self._path}-wal")
            return self._path.stat().st_ino != self._inode or not log.exists()
        except FileNotFoundError:
            return True

    def _prepare(self) -> None:
        db = self._db
        if db.execute("PRAGMA page_count").fetchone()[0] == 0:
            db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        log = min(policy.LOG_BYTES, self._limits.max_disk // 4)
        db.execute(f"PRAGMA journal_size_limit={log}")
        db.execute(f"PRAGMA wal_autocheckpoint={max(16, min(1000, log // 8192))}")
        db.execute("PRAGMA temp_store=MEMORY")
        said = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if said != "ok":
            raise DamagedError(f"quick_check: {said}")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, SCHEMA}:
            raise DamagedError(f"schema {version} of another release")
        found = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
        if version == SCHEMA and not found >= _NAMES:
            raise DamagedError(f"without {', '.join(sorted(_NAMES - found))}")
        db.executescript(_TABLES)
        db.execute(f"PRAGMA user_version={SCHEMA}")
        self._page_size: int = db.execute("PRAGMA page_size").fetchone()[0]
        # SQLite keeps a database that is already larger at its size, so the bound is a hard one.
        db.execute(f"PRAGMA max_page_count={policy.page_limit(self._limits, self._page_size)}")

    def _load(self) -> None:
        with self._transaction(durable=False):
            # Streams of earlier boots that hold nothing have nothing left to say.
            self._db.execute(
                "DELETE FROM stream WHERE boot != ? AND NOT EXISTS"
                " (SELECT 1 FROM window WHERE window.stream = stream.id)",
                (self._boot,),
            )
        for stream_id, boot, name, shed in self._db.execute("SELECT * FROM stream").fetchall():
            low, high = self._db.execute(
                "SELECT min(seq), max(seq) FROM window WHERE stream = ?", (stream_id,)
            ).fetchone()
            if low is not None:
                self.spans[stream_id] = Span(
                    stream_id=stream_id, boot=boot, stream=name, low=low, high=high, shed=shed
                )
        count = "SELECT count(*) FROM alert WHERE acked = "
        self.unacked = self._db.execute(count + "0").fetchone()[0]
        self._history = self._db.execute(count + "1").fetchone()[0]

    @property
    def windows_held(self) -> int:
        """Return how many windows are on disk."""
        return sum(span.high - span.low + 1 for span in self.spans.values())

    def states(self) -> dict[str, bytes]:
        """Return every saved state by its key."""
        return dict(self._db.execute("SELECT key, value FROM kv").fetchall())

    def add_alerts(self, alerts: Sequence[StoredAlert], states: Mapping[str, bytes]) -> int:
        """Commit alerts together with the rule states that raised them; return how many were new.

        When this returns, they survive a power cut.
        """
        with self._transaction(durable=True):
            before = self._db.total_changes
            self._db.executemany(
                "INSERT OR IGNORE INTO alert(event_id, body) VALUES (?, ?)",
                [(alert.event_id, alert.body) for alert in alerts],
            )
            added = self._db.total_changes - before
            self._save(states)
            hit("outbox.before_alert_commit")
        hit("outbox.after_alert_commit")
        self.unacked += added
        return added

    def add_windows(
        self,
        windows: Sequence[StoredWindow],
        states: Mapping[str, bytes],
        next_seq: Mapping[str, int],
    ) -> None:
        """Commit windows of this boot, numbered from ``next_seq`` on per stream, and states."""
        spans = dict(self.spans)
        following = dict(next_seq)
        with self._transaction(durable=False):
            ids = {name: self._stream_id(name) for name in {window.stream for window in windows}}
            for window in windows:
                seq, stream_id = following[window.stream], ids[window.stream]
                following[window.stream] = seq + 1
                self._db.execute(
                    "INSERT INTO window(stream, seq, body) VALUES (?, ?, ?)",
                    (stream_id, seq, window.body),
                )
                spans[stream_id] = self._grown(spans.get(stream_id), stream_id, window.stream, seq)
            self._save(states)
            hit("outbox.before_window_commit")
        self.spans = spans
        hit("outbox.after_window_commit")

    def acknowledge(
        self, streams: Mapping[tuple[str, str], int], alerts: Sequence[str]
    ) -> tuple[int, int]:
        """Free what the server has stored; return (windows deleted, alerts marked).

        Args:
            streams: Highest contiguous sequence number stored, by (boot, stream).
            alerts: Event ids of stored alerts.
        """
        spans = dict(self.spans)
        gone = 0
        with self._transaction(durable=False):
            for span in self.spans.values():
                upto = min(streams.get((span.boot, span.stream), 0), span.high)
                if upto < span.low:
                    continue
                gone += self._db.execute(
                    "DELETE FROM window WHERE stream = ? AND seq <= ?", (span.stream_id, upto)
                ).rowcount
                self._advance(spans, span)
            marked = sum(
                self._db.execute(
                    "UPDATE alert SET acked = 1 WHERE event_id = ? AND acked = 0", (event_id,)
                ).rowcount
                for event_id in alerts
            )
            surplus = self._history + marked - self._limits.history
            if surplus > 0:
                self._db.execute(
                    "DELETE FROM alert WHERE id IN"
                    " (SELECT id FROM alert WHERE acked = 1 ORDER BY id LIMIT ?)",
                    (surplus,),
                )
            hit("outbox.before_ack_commit")
        hit("outbox.after_ack_commit")
        self.spans = spans
        self.unacked -= marked
        self._history += marked - max(0, surplus)
        return gone, marked

    def shed(self, count: int) -> int:
        """Delete the ``count`` oldest windows of all streams; return how many went."""
        spans = dict(self.spans)
        with self._transaction(durable=False):
            row = self._db.execute(
                "SELECT max(id) FROM (SELECT id FROM window ORDER BY id LIMIT ?)", (count,)
            ).fetchone()
            if row[0] is None:
                return 0
            parts = self._db.execute(
                "SELECT stream, count(*) FROM window WHERE id <= ? GROUP BY stream", (row[0],)
            ).fetchall()
            gone = self._db.execute("DELETE FROM window WHERE id <= ?", (row[0],)).rowcount
            for stream_id, number in parts:
                self._db.execute(
                    "UPDATE stream SET shed = shed + ? WHERE id = ?", (number, stream_id)
                )
                span = spans[stream_id]
                self._advance(spans, replace(span, shed=span.shed + number))
            hit("outbox.before_shed_commit")
        hit("outbox.after_shed_commit")
        self.spans = spans
        return gone

    def surplus(self) -> int:
        """Return how many of the oldest windows must go now for the rest to fit."""
        pages, free = self._pages()
        disk = os.statvfs(self._path.parent)
        allowed = policy.window_pages(
            self._limits,
            page_size=self._page_size,
            page_count=pages,
            disk_free=disk.f_bavail * disk.f_frsize,
            disk_total=disk.f_blocks * disk.f_frsize,
        )
        return policy.windows_to_shed(
            used_pages=pages - free, allowed_pages=allowed, windows=self.windows_held
        )

    def bytes_used(self) -> int:
        """Return the bytes of the database that hold something."""
        pages, free = self._pages()
        return (pages - free) * self._page_size

    def give_back(self) -> None:
        """Return free pages to the file system once they are a quarter of the file."""
        pages, free = self._pages()
        if free > max(policy.MIN_PAGES, pages // 4):
            self._db.execute(f"PRAGMA incremental_vacuum({free // 2})").fetchall()

    def close(self) -> None:
        """Write the log back into the database where the disk allows it, and close."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def _pages(self) -> tuple[int, int]:
        pages = self._db.execute("PRAGMA page_count").fetchone()[0]
        free = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        return pages, free

    def _stream_id(self, name: str) -> int:
        self._db.execute(
            "INSERT OR IGNORE INTO stream(boot, name) VALUES (?, ?)", (self._boot, name)
        )
        row = self._db.execute(
            "SELECT id FROM stream WHERE boot = ? AND name = ?", (self._boot, name)
        ).fetchone()
        return int(row[0])

    def _grown(self, span: Span | None, stream_id: int, name: str, seq: int) -> Span:
        if span is not None:
            return replace(span, high=seq)
        (shed,) = self._db.execute("SELECT shed FROM stream WHERE id = ?", (stream_id,)).fetchone()
        return Span(stream_id=stream_id, boot=self._boot, stream=name, low=seq, high=seq, shed=shed)

    def _advance(self, spans: dict[int, Span], span: Span) -> None:
        # Asked, not computed: a salvaged stream may have holes, and ``low`` must be held.
        (low,) = self._db.execute(
            "SELECT min(seq) FROM window WHERE stream = ?", (span.stream_id,)
        ).fetchone()
        if low is None:
            del spans[span.stream_id]
        else:
            spans[span.stream_id] = replace(span, low=low)

    def _save(self, states: Mapping[str, bytes]) -> None:
        self._db.executemany(
            "INSERT INTO kv(key, value) VALUES (?, ?)"
            " ON CONFLICT(key) DO UPDATE SET value = excluded.value",
            list(states.items()),
        )

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[None]:
        self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # After some errors SQLite has rolled back by itself already.
            if self._db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            raise
