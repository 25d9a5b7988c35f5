"""Running sums per device, stream and model, kept in the transaction that stores the frames."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from edgeops.contracts.telemetry import Frame
from fleet.db.schema import telemetry_total

MAX_NAMES: Final = 256
"""Figures and labels beyond it are in the frames and not in the sums."""

Key = tuple[str, str, str]


@dataclass(slots=True)
class Sums:
    """What frames of one device, stream and model add up to.

    Attributes:
        figures: By column, ``[sum, how many windows had it]``.
    """

    windows: int = 0
    span_s: float = 0.0
    last_t: float = 0.0
    figures: dict[str, list[float]] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)

    def add(self, frame: Frame) -> None:
        """Add the windows of a frame."""
        self.windows += frame.seq_to - frame.seq_from + 1
        self.span_s += sum(span for span in frame.columns["span_s"] if span is not None)
        times = [t for t in frame.columns["t"] if t is not None]
        self.last_t = max([self.last_t, *times])
        for name, column in frame.columns.items():
            known = [value for value in column if value is not None]
            if name not in {"t", "span_s"} and known:
                self._add_figure(name, sum(known), len(known))
        for label, counts in frame.labels.items():
            self._add_label(label, sum(counts))

    def merge(self, figures: Mapping[str, list[float]], labels: Mapping[str, int]) -> None:
        """Add sums that are stored."""
        for name, (total, number) in figures.items():
            self._add_figure(name, total, number)
        for label, number in labels.items():
            self._add_label(label, number)

    def _add_figure(self, name: str, total: float, number: float) -> None:
        if name not in self.figures and len(self.figures) >= MAX_NAMES:
            return
        entry = self.figures.setdefault(name, [0.0, 0])
        # Finite values can still add up to infinity, which no JSON column can hold.
        if math.isfinite(entry[0] + total):
            entry[0] += total
            entry[1] += number

    def _add_label(self, label: str, number: int) -> None:
        if label in self.labels or len(self.labels) < MAX_NAMES:
            self.labels[label] = self.labels.get(label, 0) + number


def add(connection: Connection, sums: Mapping[Key, Sums], *, now_s: float) -> None:
    """Add what a batch of frames came to."""
    for (device, stream, model), fresh in sums.items():
        row = connection.execute(
            select(telemetry_total).where(
                telemetry_total.c.device == device,
                telemetry_total.c.stream == stream,
                telemetry_total.c.model == model,
            )
        ).first()
        if row is not None:
            fresh.windows += row.windows
            fresh.span_s += row.span_s
            fresh.last_t = max(fresh.last_t, row.last_t)
            fresh.merge(row.figures, row.labels)
        values = {
            "windows": fresh.windows,
            "span_s": fresh.span_s,
            "last_t": fresh.last_t,
            "received_s": now_s,
            "figures": fresh.figures,
            "labels": fresh.labels,
        }
        connection.execute(
            insert(telemetry_total)
            .values(device=device, stream=stream, model=model, **values)
            .on_conflict_do_update(index_elements=["device", "stream", "model"], set_=values)
        )
