"""Pipelines that run nothing and answer as they are told, for the updater's tests."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent.update.ports import SlotHealth
from edgeops.errors import InferenceError
from tests.emulation.power import Power

Behaviour = Callable[[int], SlotHealth]
"""Returns the figures at the n-th look since the activation, from 1."""


def well(look: int) -> SlotHealth:
    return SlotHealth(
        elapsed_s=look * 10.0, frames=look * 60, p95_ms=5.0, label_counts={"red": look * 60}
    )


@dataclass(slots=True)
class EmulatedHost:
    """Implements ``PipelineHost``.

    Attributes:
        behaviours: By bundle folder's name; all others do well.
        unloadable: Folder names of bundles that cannot be loaded.
        running: Folder name of what answers, by slot.
        history: Everything that was activated, in order.
    """

    power: Power = field(default_factory=Power)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    unloadable: set[str] = field(default_factory=set)
    running: dict[str, str] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    variants: dict[str, str] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    _looks: dict[str, int] = field(default_factory=dict)

    def activate(self, slot: str, bundle: Path | None, variant: str) -> None:
        self.power.spend()
        name = "" if bundle is None else bundle.name
        if name in self.unloadable:
            raise InferenceError(f"{name[:12]} cannot be loaded")
        if bundle is not None and not (bundle / "manifest.json").is_file():
            raise InferenceError(f"{bundle} is not there")
        with self.changed:
            self.running[slot] = name
            self.history.append(name)
            self.variants[slot] = variant
            self._looks[slot] = 0
            self.changed.notify_all()

    def health(self, slot: str) -> SlotHealth:
        name = self.running.get(slot, "")
        if not name:
            return SlotHealth(elapsed_s=0.0)
        self._looks[slot] += 1
        return self.behaviours.get(name, well)(self._looks[slot])
