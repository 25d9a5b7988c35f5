"""Latencies in a fixed histogram: no allocation per frame, percentiles within five per cent."""

import math
from typing import Final

from edgeops.contracts.telemetry import Sketch

_PER_OCTAVE: Final = 8
_OCTAVES: Final = 24
_LEAST_MS: Final = 0.01
_BUCKETS: Final = _PER_OCTAVE * _OCTAVES
_SENT_PER_OCTAVE: Final = 2

SENT_EDGES_MS: Final = (
    0.0,
    *(
        round(_LEAST_MS * 2.0 ** (i / _SENT_PER_OCTAVE), 6)
        for i in range(1, _OCTAVES * _SENT_PER_OCTAVE + 1)
    ),
)


class LatencyHistogram:
    """Counts durations in logarithmic buckets from 0.01 ms to 168 s."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.max_ms = 0.0

    def add(self, ms: float) -> None:
        """Count one duration in milliseconds."""
        octaves = math.log2(ms / _LEAST_MS) if ms > _LEAST_MS else 0.0
        at = min(int(octaves * _PER_OCTAVE), _BUCKETS - 1)
        self._counts[at] += 1
        self.count += 1
        self.max_ms = max(self.max_ms, ms)

    def percentile(self, share: float) -> float:
        """Return the duration in ms that ``share`` (0..1) of all stay below; 0 without any."""
        if not self.count:
            return 0.0
        wanted = share * self.count
        seen = 0
        for i, count in enumerate(self._counts):
            seen += count
            if seen >= wanted and count:
                middle: float = _LEAST_MS * 2.0 ** ((i + 0.5) / _PER_OCTAVE)
                return min(middle, self.max_ms)
        return self.max_ms

    def sketch(self) -> Sketch:
        """Return the histogram with two buckets per octave, as it travels."""
        group = _PER_OCTAVE // _SENT_PER_OCTAVE
        counts = tuple(sum(self._counts[i : i + group]) for i in range(0, _BUCKETS, group))
        return Sketch(edges=SENT_EDGES_MS, counts=counts)
