"""Keep the grids of an earlier release where they still fit, so that updates become small.

A weight that did not change gives the same byte only on the same grid. A slightly retrained
model has slightly other ranges everywhere; without this every byte of it would differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from converters.graph import Graph
from converters.quant.observe import Histogram, Range
from converters.quant.operators import WEIGHTED
from converters.quant.plan import GRID_BOUNDS, Grid, QuantPlan, asymmetric_grid
from converters.quant.weights import bias_grid

MAX_CLIPPED: Final = 0.001
"""Share of values that an old grid may clip."""

MAX_COARSER: Final = 1.5
"""How many times the scale of a new grid an old one may have: half a bit is given away."""

_CLIP_ROOM: Final = 127.5 / 127.0
"""Weights may exceed the old grid's end by half a step: they round to it."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """How much of an earlier release's plan was kept.

    Attributes:
        kept: Number of grids that are the same as before.
        total: Number of grids of activations and weights in the plan.
    """

    kept: int
    total: int

    @property
    def sentence(self) -> str:
        """Return words for people."""
        return f"{self.kept} of {self.total} grids are those of the earlier release"


def keep_ranges(
    ranges: Mapping[str, Range],
    previous: Mapping[str, Grid],
    histograms: Mapping[str, Histogram],
) -> dict[str, Range]:
    """Return ``ranges`` with the earlier release's wherever its grid still fits.

    Args:
        ranges: Newly calibrated.
        previous: Grids of the earlier release.
        histograms: Of the new calibration samples.
    """
    return {
        name: _covered(previous[name])
        if name in previous and _fits(limit, previous[name], histograms.get(name))
        else limit
        for name, limit in ranges.items()
    }


def keep_weights(graph: Graph, plan: QuantPlan, previous: Mapping[str, Grid]) -> QuantPlan:
    """Return ``plan`` with the earlier release's weight scales, channel by channel.

    Biases follow: their scale is the product of the input's and the weights'.
    """
    if plan.activations != "int8":
        return plan
    tensors = dict(plan.tensors)
    for node in graph.nodes:
        if node.op not in WEIGHTED or node.name not in plan.quantized:
            continue
        new, old = tensors.get(node.inputs[1]), previous.get(node.inputs[1])
        if new is None or old is None or len(new.scale) != len(old.scale):
            continue
        fitting = tuple(
            was if now <= was * _CLIP_ROOM and was <= now * MAX_COARSER else now
            for now, was in zip(new.scale, old.scale, strict=True)
        )
        tensors[node.inputs[1]] = replace(new, scale=fitting)
        bias = node.optional_input(2)
        if bias in tensors:
            input_scale = tensors[node.inputs[0]].scale[0]
            tensors[bias] = bias_grid(tensors[node.inputs[1]], input_scale)
    return replace(plan, tensors=tensors)


def count_kept(plan: QuantPlan, previous: Mapping[str, Grid]) -> Reuse:
    """Return how many grids of ``plan`` are those of the earlier release."""
    own = {name: grid for name, grid in plan.tensors.items() if grid.dtype == "int8"}
    kept = sum(
        name in previous
        and grid.scale == previous[name].scale
        and grid.zero_point == previous[name].zero_point
        for name, grid in own.items()
    )
    return Reuse(kept, len(own))


def _fits(limit: Range, old: Grid, histogram: Histogram | None) -> bool:
    if old.axis is not None or old.symmetric:
        return False
    if old.scale[0] > MAX_COARSER * asymmetric_grid(limit.low, limit.high).scale[0]:
        return False
    covered = _covered(old)
    if histogram is None:
        return covered.low <= limit.low and limit.high <= covered.high
    return histogram.share_outside(covered) <= MAX_CLIPPED


def _covered(grid: Grid) -> Range:
    """Return the range from which ``asymmetric_grid`` makes exactly this grid again."""
    low, high = GRID_BOUNDS["int8"]
    scale, point = np.float64(grid.scale[0]), grid.zero_point[0]
    return Range(float((low - point) * scale), float((high - point) * scale))
