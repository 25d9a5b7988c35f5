"""An agent's outbox in a process that may be killed: says on stdout what it was promised.

``python -m tests.emulation.outbox_child DB BOOT ALERTS`` puts alerts and windows and acknowledges
every third window; each line is printed only after the outbox said that it is on disk.
"""

import sys
from pathlib import Path

from agent.outbox.limits import OutboxLimits
from agent.outbox.outbox import Outbox
from edgeops.clock import SystemClock
from edgeops.contracts.telemetry import Ack
from edgeops.quantities import ByteSize, Duration
from tests.unit.agent.outbox_words import alert, window


def main(path: Path, boot: str, alerts: int) -> None:
    """Run the course."""
    limits = OutboxLimits(batch=Duration(0.005), min_free=0.0, max_disk=ByteSize(600_000))
    outbox = Outbox(path, device="d1", boot=boot, limits=limits, clock=SystemClock())
    outbox.start()
    for number in range(1, alerts + 1):
        outbox.put_alert(alert(number, boot=boot), {"rule.defect": str(number).encode()})
        for step in range(20):
            outbox.put_window("belt", window(number * 20 + step, padding=10))
        if outbox.flush(10.0):
            say(f"alert {boot}-{number}")
        if number % 3 == 0:
            spans = [span for span in outbox.spans() if span.boot == boot]
            for span in spans:
                upto = span.low + 5
                outbox.acknowledge(Ack(boot=boot, streams={"belt": upto}))
                outbox.acknowledge(Ack(boot=boot, alerts=(f"{boot}-{number}",)))
                say(f"acked {upto}")
    outbox.close()
    say("end")


def say(line: str) -> None:
    """Print one line at once: a killed process must not take it along."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
