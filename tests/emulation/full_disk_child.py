"""An outbox on a file system that fills up and empties again, in a process of its own.

``python -m tests.emulation.full_disk_child FOLDER`` prints one JSON object. ``FOLDER`` is a small
file system: see ``tests/integration/test_outbox_full_disk.py``.
"""

import contextlib
import json
import sys
import time
from pathlib import Path

from agent.outbox.limits import OutboxLimits
from agent.outbox.outbox import Outbox
from edgeops.clock import SystemClock
from edgeops.quantities import ByteSize, Duration
from tests.unit.agent.outbox_words import alert, window


def main(folder: Path) -> dict[str, object]:
    """Fill the disk, go on as if nothing were, make room again."""
    limits = OutboxLimits(
        batch=Duration(0.01), min_free=0.0, max_disk=ByteSize(100_000_000), ram_windows=50
    )
    outbox = Outbox(
        folder / "outbox.sqlite", device="d1", boot="b1", limits=limits, clock=SystemClock()
    )
    outbox.start()
    outbox.put_alert(alert(0, boot="b1"), None)
    before = outbox.flush(5.0)
    _fill(folder / "ballast")
    slowest = 0.0
    for number in range(1, 201):
        began = time.monotonic()
        outbox.put_alert(alert(number, boot="b1"), {"rule": b"%d" % number})
        for step in range(10):
            outbox.put_window("belt", window(number * 10 + step, padding=50))
        slowest = max(slowest, time.monotonic() - began)
        if number % 20 == 0:
            outbox.flush(0.05)
    full = outbox.counters()
    offered = len(outbox.unacked_alerts(1000))
    (folder / "ballast").unlink()
    after = outbox.flush(40.0)
    outbox.put_window("belt", window(9999))
    outbox.flush(10.0)
    healed = outbox.counters()
    high = outbox.spans()[0].high
    outbox.close()
    return {
        "before": before,
        "slowest_put_s": slowest,
        "errors": dict(full.write_errors),
        "in_memory": full.alerts_in_memory,
        "offered": offered,
        "after": after,
        "held": healed.alerts_held,
        "windows": healed.windows_stored,
        "high": high,
        "dropped": dict(healed.dropped),
        "shed": dict(healed.shed),
    }


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1])), sys.stdout)
