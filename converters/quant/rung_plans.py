"""From a rung of the ladder to a graph and its plan: calibrated, equalized, corrected."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from converters.arrays import Array
from converters.calibration import Calibrator, Samples
from converters.graph import Graph
from converters.quant.bias_correction import correct_biases
from converters.quant.channel_scaling import can_scale, scale_channels
from converters.quant.equalization import channel_magnitudes, equalize, find_pairs
from converters.quant.half_islands import halve_islands
from converters.quant.ladder import Rung
from converters.quant.noise import answers, head_tensors, mean_noise, watch_heads, with_outputs
from converters.quant.observe import Range
from converters.quant.operators import WEIGHTED
from converters.quant.plan import Grid, QuantPlan
from converters.quant.planner import plan_quantization
from converters.quant.rounding import round_weights
from converters.quant.scale_reuse import keep_ranges, keep_weights
from converters.quant.sensitivity import Sensitivity, rank_layers
from converters.quant.stability import Instability, most_unstable

NOISE_SAMPLES: Final = 8
RANKING_SAMPLES: Final = 6

EARLIER: Final = "earlier release"
"""What chose a range that was neither widened nor narrowed since."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What the files of a rung are written from.

    Attributes:
        graph: The float graph, equalized and with corrected biases where the rung says so.
        plan: Its grids.
        noise: Squared error over variance at the heads, on calibration samples; infinite for
            16-bit activations, which have no form in ONNX to measure it with.
    """

    graph: Graph
    plan: QuantPlan
    noise: float


class RungPlans:
    """Makes plans of one model; what several rungs need is computed once.

    Args:
        graph: The normalised float graph.
        samples: Calibration samples.
        per_channel: Whether weights may have one scale per channel.
        previous: Grids of an earlier release, to be kept where they fit.
        integer_tail: Whether what follows the last layer is integer too.
        reduce_range: Whether weights leave out their highest bit.

    Raises:
        ConversionError: There is no sample, or a tensor takes values that are no numbers.
    """

    def __init__(
        self,
        graph: Graph,
        samples: Samples,
        *,
        per_channel: bool = True,
        previous: Mapping[str, Grid] | None = None,
        integer_tail: bool = False,
        reduce_range: bool = False,
    ) -> None:
        self._graph = graph
        self._samples = samples
        self._per_channel = per_channel
        self._integer_tail = integer_tail
        self._reduce_range = reduce_range
        self._previous = previous or {}
        self._pairs = find_pairs(graph)
        self._calibrators = {False: Calibrator(graph, samples)}
        self._graphs = {False: graph}
        self._heads = head_tensors(graph)
        self._expected: list[dict[str, Array]] = []
        self._weights: dict[Rung, dict[str, Array]] = {}

    @property
    def can_equalize(self) -> bool:
        """Whether there are layers whose channels can be scaled against each other."""
        return can_scale(self._graph) if self._per_channel else bool(self._pairs)

    @property
    def head_layers(self) -> tuple[str, ...]:
        """Return the last layers, if there are several: a detector's boxes and scores."""
        layers = [n.name for n in self._graph.nodes if n.op in WEIGHTED and not n.domain]
        last = [
            n.name
            for n in self._graph.nodes
            if n.op in WEIGHTED and not n.domain and n.outputs[0] in self._heads
        ]
        return tuple(last) if 1 < len(last) < len(layers) / 2 else ()

    def plan(self, rung: Rung) -> Planned:
        """Return graph and plan of ``rung``; for 16-bit activations where it says so."""
        graph = self._equalized(equalized=rung.equalized)
        ranges = self._ranges(rung)
        plan = self._quantized(graph, ranges, rung)
        if rung.rounded:
            graph = self._rounded(graph, ranges, rung, plan)
            plan = self._on_own_grids(graph, ranges, rung, plan)
        if rung.corrected:
            feeds = self._calibrators[rung.equalized].feeds()
            graph = correct_biases(graph, plan, feeds).graph
            plan = self._on_own_grids(graph, ranges, rung, plan)
        if not self._integer_tail:
            graph = halve_islands(graph, plan.quantized)
        noise = self._noise(graph, plan) if plan.activations == "int8" else float("inf")
        return Planned(graph, plan, noise)

    def ranking(self, rung: Rung, samples: int = RANKING_SAMPLES) -> tuple[Sensitivity, ...]:
        """Return the layers of the rung's graph, most sensitive first."""
        graph = self._equalized(equalized=rung.equalized)
        feeds = self._calibrators[rung.equalized].feeds(samples)
        return rank_layers(graph, self._ranges(rung), feeds)

    def methods(self, rung: Rung, plan: QuantPlan) -> dict[str, int]:
        """Return what chose the ranges of how many tensors of ``plan``.

        Those are calibration methods, and ``earlier release`` where its grids were kept.
        """
        own = self._calibrators[rung.equalized].ranges(rung.method)
        used = self._ranges(rung)
        names = (
            method if used[name] == own.ranges[name] else EARLIER
            for name, method in own.methods.items()
            if name in plan.tensors
        )
        return dict(sorted(Counter(names).items()))

    def instability(self, rung: Rung, plan: QuantPlan) -> Instability | None:
        """Return the least stable range of ``plan``, if any is unstable."""
        watches = self._calibrators[rung.equalized].per_sample
        used = {n: r for n, r in self._ranges(rung).items() if n in plan.tensors}
        return most_unstable(watches, used, used)

    def _equalized(self, *, equalized: bool) -> Graph:
        if equalized not in self._graphs:
            feeds = self._calibrators[False].feeds()
            if self._per_channel:
                graph = scale_channels(self._graph, feeds)
            else:
                limits = channel_magnitudes(self._graph, self._pairs, feeds)
                graph = equalize(self._graph, self._pairs, limits)
            self._calibrators[equalized] = Calibrator(graph, self._samples)
            self._graphs[equalized] = graph
        return self._graphs[equalized]

    def _ranges(self, rung: Rung) -> Mapping[str, Range]:
        self._equalized(equalized=rung.equalized)
        calibrator = self._calibrators[rung.equalized]
        ranges = calibrator.ranges(rung.method).ranges
        if self._previous:
            return keep_ranges(ranges, self._previous, calibrator.histograms())
        return ranges

    def _rounded(
        self, graph: Graph, ranges: Mapping[str, Range], rung: Rung, plan: QuantPlan
    ) -> Graph:
        """Return ``graph`` with the integer layers' weights on their grids, rounded to fit."""
        key = replace(rung, keep_float=())
        if key not in self._weights:
            whole = self._quantized(graph, ranges, key)
            feeds = self._calibrators[rung.equalized].feeds()
            self._weights[key] = round_weights(graph, whole, feeds)
        used = {n.inputs[1] for n in graph.nodes if n.name in plan.quantized and n.op in WEIGHTED}
        mine = {name: value for name, value in self._weights[key].items() if name in used}
        return replace(graph, constants={**graph.constants, **mine})

    def _on_own_grids(
        self, graph: Graph, ranges: Mapping[str, Range], rung: Rung, plan: QuantPlan
    ) -> QuantPlan:
        """Return the plan of a changed graph with the weight grids of the unchanged one."""
        return keep_weights(graph, self._quantized(graph, ranges, rung), plan.tensors)

    def _quantized(self, graph: Graph, ranges: Mapping[str, Range], rung: Rung) -> QuantPlan:
        plan = plan_quantization(
            graph,
            ranges,
            keep_float=rung.keep_float,
            per_channel=self._per_channel,
            activations="int16" if rung.precision == "int16x8" else "int8",
            integer_tail=self._integer_tail,
            reduce_range=self._reduce_range,
        )
        return keep_weights(graph, plan, self._previous)

    def _noise(self, graph: Graph, plan: QuantPlan) -> float:
        feeds = self._calibrators[False].feeds(NOISE_SAMPLES)
        if not self._expected:
            self._expected = answers(with_outputs(self._graph, self._heads), feeds)
        return mean_noise(self._expected, answers(watch_heads(graph, plan, self._heads), feeds))
