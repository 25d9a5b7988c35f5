"""The demo's stage: the workshop, the plant, the clock and how to wait for something to happen."""

import concurrent.futures
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from edgeops.codec import JsonValue
from edgeops.demo.answers import at, listed, mapping, number, text
from edgeops.demo.plant import Device, Plant
from edgeops.demo.timeline import Timeline
from edgeops.demo.view import DeviceLine, View
from edgeops.demo.workshop import Made, Workshop
from edgeops.errors import CheckFailedError, TransportError

PULSE_S: Final = 0.25
STEP_LIMIT_S: Final = 45.0


@dataclass(slots=True)
class Stage:
    """What every step of the story works with.

    Attributes:
        seen: The last status of each device's agent, by device and boot.
        conversions: Conversions under way or done, by title such as ``visual-2.0.0``.
        rollouts: Rollouts by title.
    """

    timeline: Timeline
    view: View
    workshop: Workshop
    plant: Plant
    pool: concurrent.futures.ThreadPoolExecutor
    expected_dead: set[str] = field(default_factory=set)
    seen: dict[tuple[str, str], dict[str, JsonValue]] = field(default_factory=dict)
    conversions: dict[str, concurrent.futures.Future[Made]] = field(default_factory=dict)
    rollouts: dict[str, str] = field(default_factory=dict)

    def wait(
        self, what: str, happened: Callable[[], bool], *, limit_s: float = STEP_LIMIT_S
    ) -> float:
        """Look a few times a second until ``happened``; return how long it took in seconds.

        Raises:
            CheckFailedError: It did not happen in time, or a program ended that must run.
        """
        self.timeline.doing = what
        began = self.timeline.clock.monotonic()
        while True:
            self.look()
            try:
                if happened():
                    return self.timeline.clock.monotonic() - began
            except TransportError:
                pass  # a server that starts or a line that was cut: look again
            if self.timeline.clock.monotonic() - began > limit_s:
                raise CheckFailedError(f"{what}: did not happen within {limit_s:.0f} s")
            time.sleep(PULSE_S)

    def look(self) -> None:
        """Read every device's status, draw it, and see that nothing has died."""
        for daemon in self.plant.daemons.values():
            if not daemon.alive and daemon.name not in self.expected_dead:
                raise CheckFailedError(
                    f"{daemon.name} ended with {daemon.process.returncode}: {daemon.last_words()}"
                )
        lines = []
        for _, device in sorted(self.plant.devices.items()):
            status = device.status()
            if status is not None:
                self.seen[device.id, text(status, "boot")] = status
            lines.append(_line(device, status))
        self.view.show(self.timeline, lines)

    def done(self, name: str, detail: str) -> None:
        """Note that a step of the story happened."""
        self.timeline.record(name, detail)
        self.view.step(self.timeline.steps[-1])

    # -- conversions and rollouts --------------------------------------------------------------

    def order(self, recipe: str, *, model: str, version: str, serial: int) -> None:
        """Start a conversion in the background."""
        self.conversions[f"{recipe}-{version}"] = self.pool.submit(
            self.workshop.convert, recipe, model=model, version=version, serial=serial
        )

    def made(self, title: str) -> Made:
        """Return a conversion's result, waiting for it."""
        future = self.conversions[title]
        self.wait(f"converting {title}", future.done, limit_s=90)
        return future.result()

    def roll_out(
        self,
        title: str,
        *,
        slot: str,
        kind: str,
        stages: Sequence[dict[str, object]],
        probation: tuple[int, int] = (3, 35),
    ) -> None:
        """Push a bundle and start its rollout to all devices of ``kind``.

        Args:
            title: Of the conversion, such as ``visual-2.0.0``.
            slot: Slot of the devices.
            kind: Label of the devices.
            stages: As in a rollout policy.
            probation: Least seconds and frames; the default is long enough to compare behaviour.
        """
        made = self.made(title)
        self.plant.fleet("models", "push", str(made.folder))
        policy = {
            "schema": 1,
            "name": title,
            "bundle": made.digest,
            "slot": slot,
            "selector": {"labels": {"kind": kind}},
            "stages": list(stages),
            "gate": {"max_failure_rate": 0.05, "on_fail": "pause"},
            "probation": {"s": probation[0], "frames": probation[1]},
        }
        path = self.plant.folder / f"rollout-{title}.yaml"
        path.write_text(yaml.safe_dump(policy, sort_keys=False))
        answer = self.plant.fleet("rollout", "start", made.digest, "--policy", str(path))
        found = mapping(answer.get("rollout", answer), "rollout")
        self.rollouts[title] = text(found, "id")

    def rollout(self, title: str) -> dict[str, JsonValue]:
        """Return a rollout as the server has it."""
        return mapping(self.plant.ask(f"/api/v1/rollouts/{self.rollouts[title]}"), title)

    def completed(self, title: str) -> bool:
        """Return whether a rollout reached all its devices.

        Raises:
            CheckFailedError: It stopped instead.
        """
        found = self.rollout(title)
        state = text(found, "state")
        if state not in {"running", "completed"}:
            raise CheckFailedError(f"the rollout of {title} is {state}: {found.get('reason')}")
        return state == "completed"

    def alerts_at_server(self, device: Device | None = None) -> set[str]:
        """Return ``device/event`` of every alert event that the server has stored."""
        chosen = "" if device is None else f"&device={device.id}"
        found: set[str] = set()
        before = ""
        while True:
            page = self.plant.ask(f"/api/v1/alerts?limit=1000{chosen}{before}")
            rows = [mapping(row, "alert") for row in page] if isinstance(page, list) else []
            found |= {f"{text(row, 'device')}/{text(row, 'event_id')}" for row in rows}
            if len(rows) < 1000:  # noqa: PLR2004  # the page's limit above
                return found
            before = f"&before={int(number(rows[-1], 'row'))}"


def frames_of(status: dict[str, JsonValue]) -> int:
    """Return the inferences of one agent since it started."""
    rows = (mapping(row, "pipeline") for row in listed(status, "pipelines"))
    return int(sum(number(row, "frames") for row in rows))


def raised_of(status: dict[str, JsonValue]) -> int:
    """Return the alerts that one agent raised since it started."""
    return int(sum(number(mapping(row, "rule"), "raised") for row in listed(status, "rules")))


def slot_of(status: dict[str, JsonValue], slot: str) -> dict[str, JsonValue]:
    """Return one slot of an agent's status; empty where it has none yet."""
    for row in listed(status, "slots"):
        found = mapping(row, "slot")
        if text(found, "slot") == slot:
            return found
    return {}


def waiting_of(status: dict[str, JsonValue]) -> int:
    """Return the rows in one device's outbox that the server has not acknowledged."""
    outbox = at(status, "outbox")
    return int(number(outbox, "alerts_held") + number(outbox, "windows_held"))


def is_connected(status: dict[str, JsonValue]) -> bool:
    """Return whether an agent has a session with the broker."""
    link = status.get("link")
    return isinstance(link, dict) and link.get("connected") is True


def _line(device: Device, status: dict[str, JsonValue] | None) -> DeviceLine:
    if status is None:
        return DeviceLine(
            id=device.id, online="no agent", model="", state="", frames=0, alerts=0, waiting=0
        )
    slot = slot_of(status, device.slot)
    return DeviceLine(
        id=device.id,
        online="online" if is_connected(status) else "offline",
        model=str(slot.get("version") or "none yet"),
        state=str(slot.get("state") or ""),
        frames=frames_of(status),
        alerts=raised_of(status),
        waiting=waiting_of(status),
    )


def log_tail(folder: Path, lines: int = 5) -> str:
    """Return the last lines of every log below ``folder``, for a failed demo."""
    parts = []
    for path in sorted(folder.rglob("*.log")):
        tail = path.read_text(errors="replace").strip().splitlines()[-lines:]
        if tail:
            parts.append(f"{path}:\n  " + "\n  ".join(tail))
    return "\n".join(parts)
