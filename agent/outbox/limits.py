"""How much the outbox may hold, on disk and in memory."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from edgeops.contracts.scalars import Ratio
from edgeops.quantities import ByteSize, Duration

AtLeastOne = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """Bounds of one device's outbox.

    Attributes:
        max_disk: Largest size of the database with its write-ahead log.
        min_free: Share of the file system that windows leave free.
        batch: How long windows wait to be committed together: fewer commits, less flash wear.
        ram_alerts: Alerts kept in memory while the disk refuses them.
        ram_windows: Windows that wait in memory for the next commit.
        history: Acknowledged alerts kept for people on the spot.
    """

    max_disk: ByteSize = ByteSize(256_000_000)
    min_free: Ratio = 0.05
    batch: Duration = Duration(1.0)
    ram_alerts: AtLeastOne = 1000
    ram_windows: AtLeastOne = 1000
    history: AtLeastOne = 1000
