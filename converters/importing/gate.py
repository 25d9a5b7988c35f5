"""Gate 1: the normalised graph must compute what the original file computes."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from converters.arrays import Feeds
from converters.importing.origin import Reference
from edgeops.errors import ConversionError


@dataclass(frozen=True, slots=True)
class GateResult:
    """What a comparison of two models on the same samples showed.

    Attributes:
        samples: How many samples were compared.
        max_abs_diff: Largest difference of any output element.
        max_abs_value: Largest magnitude that the original gave.
        output: Name of the output with the largest difference.
    """

    samples: int
    max_abs_diff: float
    max_abs_value: float
    output: str

    @property
    def relative(self) -> float:
        """The difference as a share of the largest output, or of 1 where outputs are small."""
        return self.max_abs_diff / max(1.0, self.max_abs_value)


def compare(reference: Reference, candidate: Reference, samples: Iterable[Feeds]) -> GateResult:
    """Return the largest difference of ``candidate`` from ``reference``.

    Raises:
        ConversionError: There is no sample, an output is missing, has another shape or is
            not a number where the reference is one.
    """
    count, worst, largest, where = 0, 0.0, 0.0, ""
    for feeds in samples:
        count += 1
        wanted, found = reference.run(feeds), candidate.run(feeds)
        for name, value in wanted.items():
            if name not in found:
                raise ConversionError(f"output {name!r} is missing after import")
            if found[name].shape != value.shape:
                raise ConversionError(
                    f"output {name!r} is {found[name].shape} after import, was {value.shape}"
                )
            a, b = value.astype(np.float64), found[name].astype(np.float64)
            finite = np.isfinite(a)
            if not np.array_equal(finite, np.isfinite(b)):
                raise ConversionError(f"output {name!r} is no longer finite where it was")
            if not finite.any():
                continue
            largest = max(largest, float(np.abs(a[finite]).max()))
            difference = float(np.abs(a[finite] - b[finite]).max())
            if difference >= worst:
                worst, where = difference, name
    if count == 0:
        raise ConversionError("no sample to compare the imported model on")
    return GateResult(count, worst, largest, where)


def require_equal(result: GateResult, tolerance: float) -> None:
    """Refuse an import that changed the model.

    Raises:
        ConversionError: The relative difference exceeds ``tolerance``.
    """
    if result.relative > tolerance:
        raise ConversionError(
            f"the imported model differs from the original by {result.max_abs_diff:.3g} in output "
            f"{result.output!r} (largest value {result.max_abs_value:.3g}, "
            f"tolerance {tolerance:.3g}): this is a fault of the converter, please report it"
        )
