"""What the outbox holds, has delivered, and has given up, by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxCounters:
    """A snapshot; everything but the first four counts since the agent started.

    Attributes:
        alerts_held: Alerts on disk that the server has not acknowledged.
        alerts_in_memory: Alerts that wait for the disk.
        windows_held: Windows on disk that the server has not acknowledged.
        bytes_used: Bytes of the database in use.
        dropped: Never stored, by cause (``window_queue_full``, ``window_disk_full`` …).
        shed: Windows stored and then given up to make room, by cause.
        write_errors: Failed transactions by cause (``full``, ``readonly``, ``io`` …).
        bytes_written: Bytes handed to the kernel, log and checkpoints included.
        resets: Databases set aside because they were damaged.
    """

    alerts_held: int = 0
    alerts_in_memory: int = 0
    windows_held: int = 0
    bytes_used: int = 0
    alerts_stored: int = 0
    windows_stored: int = 0
    alerts_acked: int = 0
    windows_acked: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    shed: Mapping[str, int] = field(default_factory=dict)
    write_errors: Mapping[str, int] = field(default_factory=dict)
    bytes_written: int = 0
    resets: int = 0
