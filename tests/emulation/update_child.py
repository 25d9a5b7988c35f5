"""A device's updater in a process that may be killed.

``python -m tests.emulation.update_child FOLDER URL GEN`` works until generation GEN rests and then
prints its state and what runs. ``FOLDER`` holds the public keys and the state directory.
"""

import sys
import threading
from pathlib import Path

from agent.server import DeviceApi
from agent.update.exam import ExamOutcome
from agent.update.machine import RESTING
from agent.update.rules import SlotRule, UpdateRules
from agent.update.runner import Updater
from agent.update.slot import Pace
from edgeops.clock import SystemClock
from edgeops.contracts.credential import Credential
from edgeops.contracts.update import DeviceReport, Preflight
from edgeops.trust import TrustStore
from tests.emulation.host import EmulatedHost

CREDENTIAL = Credential(tenant="acme", device="d1", secret="correct horse battery")
PACE = Pace(poll_s=0.01, save_s=0.0, retry_base_s=0.01, retry_cap_s=0.05)


def main(folder: Path, url: str, gen: int) -> None:
    """Run until the generation rests."""
    rested = threading.Event()

    def report(told: DeviceReport) -> None:
        if told.slots[0].gen == gen and told.slots[0].state in RESTING:
            rested.set()

    figures = Preflight(golden_agreement=1.0, p95_ms=1.0, rss_bytes=1, variant="onnx-float32")
    api = DeviceApi(url, CREDENTIAL)
    updater = Updater(
        state_dir=folder / "state",
        device="d1",
        boot="boot1",
        slots=[SlotRule(slot="main")],
        trust=TrustStore.load(release=[folder / "release.pub"], director=[folder / "director.pub"]),
        server=api,
        host=EmulatedHost(),
        rules=UpdateRules(),
        clock=SystemClock(),
        on_report=report,
        # The real exam takes a second and has tests of its own.
        examine_bundle=lambda _folder, _variant: ExamOutcome(figures),
        pace=PACE,
    )
    updater.start()
    if not rested.wait(30.0):
        raise SystemExit(f"never rested: {updater.slots()}")
    slot = updater.slots()[0]
    updater.stop()
    api.close()
    sys.stdout.write(f"{slot.state} {slot.running}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
