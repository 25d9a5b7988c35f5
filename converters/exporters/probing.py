"""An export has to prove itself: made-up rows through the file and through the original.

Gate 1 compares on real samples later; this catches an exporter's own faults where they can
still be named, or where another option of it does better.
"""

from typing import Final

import numpy as np

from converters.arrays import Feeds, as_floats
from converters.exporters.request import Run
from converters.ort import OrtModel

PROBES: Final = 32
AGREEING: Final = 28
"""A probe may fall on a tree's threshold, where float32 and float64 part ways."""

TOLERANCE: Final = 1e-3
_SPREAD: Final = (0.1, 1.0, 10.0, 100.0)
"""Features come in all sizes."""


def agrees(file: bytes, run: Run, name: str, features: int, *, whole: bool = False) -> bool:
    """Whether an ONNX file answers rows as the original does, output by output.

    Args:
        file: The export.
        run: The original.
        name: Of the one input, whose shape is ``(1, features)``.
        features: Length of a row.
        whole: Whether some features are numbers of categories, so that only whole ones count.

    Raises:
        ConversionError: ONNX Runtime refuses the file.
    """
    random = np.random.default_rng(0)
    scale = random.choice(_SPREAD, (PROBES, 1))
    model = OrtModel(file)
    hits = 0
    rows = as_floats(random.normal(size=(PROBES, features)) * scale)
    for row in np.rint(rows) if whole else rows:
        feeds: Feeds = {name: row[np.newaxis]}
        wanted, found = run(feeds), model.run(feeds)
        hits += all(
            found[key].shape == value.shape
            and np.allclose(found[key], value, rtol=TOLERANCE, atol=TOLERANCE)
            for key, value in wanted.items()
        )
    return hits >= AGREEING
