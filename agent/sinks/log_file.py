"""Alerts as JSON lines in a file of bounded size."""

from pathlib import Path

from agent.sinks.options import LogOptions
from agent.sinks.sink import SinkError
from edgeops import codec, durable
from edgeops.contracts.alert import AlertEvent
from edgeops.errors import StorageError


class LogSink:
    """Appends one line per event; a full file is moved to ``PATH.1``, older ones further on."""

    def __init__(self, options: LogOptions) -> None:
        self._path = Path(options.path)
        self._options = options

    def deliver(self, event: AlertEvent) -> None:
        """Append the event; raises ``SinkError`` where the disk does not take it."""
        line = codec.canonical(event) + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._size() + len(line) > self._options.max_size:
                self._rotate()
            with self._path.open("ab") as file:
                file.write(line)
        except (OSError, StorageError) as error:
            raise SinkError(f"cannot write {self._path}: {error}") from error

    def close(self) -> None:
        """Hold nothing."""

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def _rotate(self) -> None:
        if not self._size():
            return
        if not self._options.keep:
            self._path.unlink()
            return
        for number in range(self._options.keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                durable.rename(older, self._numbered(number + 1))
        durable.rename(self._path, self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
