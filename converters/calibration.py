"""Run representative samples through the float graph and return every tensor's range.

Samples stream: one is in memory at a time, the graph runs slice by slice, and a tensor
costs two numbers per sample and at most one histogram.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from converters.arrays import Feeds
from converters.graph import Graph
from converters.quant.observe import Histogram, MinMax, Range
from converters.quant.range_choice import by_method, choose_ranges
from converters.segments import SegmentedModel, cuts_by_memory
from edgeops.errors import ConversionError

CalibrationMethod = Literal["minmax", "percentile", "mse", "entropy", "auto"]

PERCENTILE: Final = 0.9999
HIGH_PERCENTILE: Final = 0.99999

KEPT_SAMPLES: Final = 16
MAX_KEPT_BYTES: Final = 32 << 20
"""Samples held for whatever needs whole ones: comparisons, rankings, corrections."""

Samples = Callable[[], Iterable[Feeds]]
"""Gives the calibration samples anew at every call: histograms need a second pass."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Ranges by tensor name, and how they were found.

    Attributes:
        ranges: By tensor name.
        samples: How many samples they rest on.
        method: The one asked for.
        methods: Tensor name -> what chose its range: ``method`` itself unless that is ``auto``.
    """

    ranges: Mapping[str, Range]
    samples: int
    method: CalibrationMethod
    methods: Mapping[str, str]


class Calibrator:
    """Ranges of one graph's tensors by any method, from at most two passes over the samples.

    Args:
        graph: A normalised float graph.
        samples: The calibration samples.

    Raises:
        ConversionError: There is no sample, or a tensor takes values that are no numbers.
    """

    def __init__(self, graph: Graph, samples: Samples) -> None:
        self._graph = graph
        self._samples = samples
        self._tensors = _float_tensors(graph)
        watched = [name for name in self._tensors if name not in graph.inputs]
        self._model = SegmentedModel(graph, cuts_by_memory(graph, watched), watched)
        self._limits: dict[str, MinMax] = {name: MinMax() for name in self._tensors}
        self._spread = _SpreadSamples()
        self.samples = self._watch(self._limits, self._spread.see)
        self._refuse_faults()
        self._histograms: dict[str, Histogram] = {}
        self._chosen: dict[CalibrationMethod, Calibration] = {}

    def ranges(self, method: CalibrationMethod = "minmax") -> Calibration:
        """Return the ranges by ``method``."""
        if method not in self._chosen:
            ranges, methods = self._by(method)
            self._chosen[method] = Calibration(ranges, self.samples, method, methods)
        return self._chosen[method]

    @property
    def per_sample(self) -> Mapping[str, MinMax]:
        """Return what every single sample spanned, by tensor name."""
        return self._limits

    def histograms(self) -> Mapping[str, Histogram]:
        """Return every tensor's histogram; the first call passes over the samples."""
        if not self._histograms:
            self._histograms = {n: Histogram(limit.range()) for n, limit in self._limits.items()}
            for histogram in self._histograms.values():
                histogram.set_aside(self._judged()[0])
            self._watch(self._histograms, lambda _: None)
        return self._histograms

    def feeds(self, count: int = KEPT_SAMPLES) -> tuple[Feeds, ...]:
        """Return at most ``count`` samples, spread evenly over all; 16 are held at most."""
        return self._spread.pick(count)

    def _by(self, method: CalibrationMethod) -> tuple[Mapping[str, Range], Mapping[str, str]]:
        """Return range and method of every tensor."""
        limits = {name: limit.range() for name, limit in self._limits.items()}
        if method == "minmax":
            return limits, dict.fromkeys(limits, method)
        histograms = self.histograms()
        if method != "auto":
            return _ranges_by(method, limits, histograms), dict.fromkeys(limits, method)
        # Ranges that were fitted to the samples they are judged on would clip too much.
        numbers, feeds = self._judged()
        rest = {name: limit.range_without(numbers) for name, limit in self._limits.items()}
        apart = {name: histogram.without_aside() for name, histogram in histograms.items()}
        candidates = [_ranges_by(single, limits, histograms) for single in _SINGLES]
        trials = [_ranges_by(single, rest, apart) for single in _SINGLES]
        way = choose_ranges(self._graph, candidates, trials, feeds)
        return by_method(candidates, way), {name: _SINGLES[n] for name, n in way.items()}

    def _judged(self) -> tuple[tuple[int, ...], tuple[Feeds, ...]]:
        """Return number and content of the samples that ``auto`` compares methods on."""
        kept = self._spread.numbered()
        chosen = kept[1::2] or kept
        return tuple(n for n, _ in chosen), tuple(f for _, f in chosen)

    def _watch(
        self,
        watches: Mapping[str, MinMax] | Mapping[str, Histogram],
        see: Callable[[Feeds], None],
    ) -> int:
        """Show every tensor of every sample to its watch; return the number of samples."""
        count = 0
        for feeds in self._samples():
            see(feeds)
            count += 1
            for name, value in feeds.items():
                if name in watches:
                    watches[name].add(value)
            for made in self._model.run(feeds):
                for name, value in made.items():
                    if name in watches:
                        watches[name].add(value)
        return count

    def _refuse_faults(self) -> None:
        if self.samples == 0:
            raise ConversionError("there is no calibration sample")
        for name, limit in self._limits.items():
            if limit.not_finite:
                raise ConversionError(
                    f"tensor {name!r} takes {limit.not_finite} infinite or undefined values on "
                    "the calibration samples: check the samples and their pre-processing"
                )


_Single = Literal["minmax", "percentile", "high-percentile", "mse", "entropy"]

_SINGLES: Final[tuple[_Single, ...]] = (
    "minmax",
    "percentile",
    "high-percentile",
    "mse",
    "entropy",
)


def _ranges_by(
    method: _Single, limits: Mapping[str, Range], histograms: Mapping[str, Histogram]
) -> Mapping[str, Range]:
    """Return every tensor's range by one method."""
    match method:
        case "minmax":
            return limits
        case "percentile":
            return {name: h.percentile(PERCENTILE) for name, h in histograms.items()}
        case "high-percentile":
            return {name: h.percentile(HIGH_PERCENTILE) for name, h in histograms.items()}
        case "mse":
            return {name: h.least_error() for name, h in histograms.items()}
        case "entropy":
            return {name: h.least_divergence() for name, h in histograms.items()}


class _SpreadSamples:
    """Copies of a few samples of a stream, evenly spread, whatever its length."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, Feeds]] = []
        self._step = 1
        self._seen = 0

    def see(self, feeds: Feeds) -> None:
        """Take the next sample of the stream."""
        if self._seen % self._step == 0:
            size = sum(value.nbytes for value in feeds.values())
            room = min(KEPT_SAMPLES, max(2, MAX_KEPT_BYTES // max(size, 1)))
            if len(self._kept) >= room:
                self._kept = self._kept[::2]
                self._step *= 2
            if self._seen % self._step == 0:
                copied = {name: value.copy() for name, value in feeds.items()}
                self._kept.append((self._seen, copied))
        self._seen += 1

    def pick(self, count: int) -> tuple[Feeds, ...]:
        """Return at most ``count`` of the kept samples."""
        step = -(-len(self._kept) // count)
        return tuple(feeds for _, feeds in self._kept[::step])

    def numbered(self) -> tuple[tuple[int, Feeds], ...]:
        """Return all kept samples with their numbers in the stream."""
        return tuple(self._kept)


def calibrate(graph: Graph, samples: Samples, method: CalibrationMethod = "minmax") -> Calibration:
    """Return the range of every float tensor of ``graph`` that is not a constant.

    Raises:
        ConversionError: There is no sample, or a tensor takes values that are no numbers.
    """
    return Calibrator(graph, samples).ranges(method)


def _float_tensors(graph: Graph) -> list[str]:
    names = [*graph.inputs, *(out for node in graph.nodes for out in node.outputs if out)]
    return [n for n in names if graph.has_type(n) and graph.dtype(n) == np.float32]
