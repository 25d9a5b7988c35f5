"""One predicted number."""

from collections.abc import Sequence

import numpy as np

from edgeops.contracts.manifest import TensorSpec
from edgeops.contracts.result import Result
from edgeops.inference.arrays import Floats
from edgeops.inference.packing import Prepared


class RegressionDecoder:
    """The first output as numbers: ``score`` is the first of them, ``scores`` are all.

    Windows of one sample are averaged.
    """

    def __init__(self, outputs: tuple[TensorSpec, ...]) -> None:
        self._values = int(np.prod(outputs[0].shape))

    def __call__(self, _prepared: Prepared, outputs: Sequence[Sequence[Floats]]) -> Result:
        """Return the predicted values; see ``ResultDecoder``."""
        values = np.mean([window[0].reshape(-1) for window in outputs], axis=0)
        scores = tuple(float(value) for value in values)
        return Result(task="regression", score=scores[0], scores=scores)
