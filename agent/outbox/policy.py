"""Pure: how large the database may be now, and how many windows must go."""

from agent.outbox.limits import OutboxLimits

LOG_BYTES = 4 << 20
"""Space set aside for the write-ahead log, which ``journal_size_limit`` holds down."""

MIN_PAGES = 64
"""Below this the tables themselves do not fit."""

ALERT_SHARE = 0.1
"""Share of the pages that windows leave to alerts."""


def page_limit(limits: OutboxLimits, page_size: int) -> int:
    """Return the most pages the database may ever have."""
    log = min(LOG_BYTES, limits.max_disk // 4)
    return max(MIN_PAGES, (limits.max_disk - log) // page_size)


def window_pages(
    limits: OutboxLimits, *, page_size: int, page_count: int, disk_free: int, disk_total: int
) -> int:
    """Return how many pages may be in use before the oldest windows are shed.

    Where the disk is nearly full the database may not grow, but it keeps the pages it has.
    """
    spare = disk_free - int(limits.min_free * disk_total)
    growth = max(0, spare) // page_size
    allowed = min(page_limit(limits, page_size), page_count + growth)
    return max(MIN_PAGES // 2, int(allowed * (1 - ALERT_SHARE)))


def windows_to_shed(*, used_pages: int, allowed_pages: int, windows: int) -> int:
    """Return how many of the oldest windows must go so that the rest fits.

    A little more goes than is needed, so that not every commit has to shed.
    """
    if used_pages <= allowed_pages or not windows:
        return 0
    share = (used_pages - allowed_pages) / used_pages + 0.02
    return min(windows, max(1, int(windows * share)))
