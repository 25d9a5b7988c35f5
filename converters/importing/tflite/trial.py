"""Two inferences in a process of their own: a file that crashes the runtime only ends that.

Our reader accepts a file before a runtime sees it, but checks structure, not every promise
that kernels written in C++ rely on.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from converters.arrays import Array
from edgeops.contracts.manifest import TensorSpec
from edgeops.errors import ConversionError, EdgeOpsError
from edgeops.inference.runtimes.loading import open_model

SECONDS: Final = 120.0
_FAILED: Final = 70
_HIGHEST: Final = 3.0


def try_out(path: Path, title: str) -> None:
    """Run ``path`` on zeros and on random numbers.

    Raises:
        ConversionError: The runtime refuses the file, crashes or does not come back.
    """
    command = [sys.executable, "-m", "converters.importing.tflite.trial", str(path)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConversionError(f"{title}: two inferences take over {SECONDS:g} s") from error
    if done.returncode < 0:
        raise ConversionError(f"{title}: the TFLite runtime crashes on it, so it is damaged")
    if done.returncode == _FAILED:
        lines = done.stdout.strip().splitlines()
        reason = lines[-1] if lines else "it gives no reason"
        raise ConversionError(f"{title}: the TFLite runtime refuses it: {reason}")
    if done.returncode != 0:
        raise ConversionError(f"{title}: the trial run failed: {done.stderr.strip()[-300:]}")


def _inputs(specs: Sequence[TensorSpec], *, random: bool) -> list[Array]:
    """Return zeros, or random numbers from 0 to 3, which are fair indices too."""
    numbers = np.random.default_rng(0)
    return [
        (numbers.uniform(0, _HIGHEST if random else 0, spec.shape)).astype(np.dtype(spec.dtype))
        for spec in specs
    ]


def main() -> int:
    """Run the file named on the command line twice and return the exit status."""
    try:
        model = open_model(Path(sys.argv[1]), "tflite")
        for random in (False, True):
            model.run(_inputs(model.inputs, random=random))
    except EdgeOpsError as error:
        print(" ".join(str(error).split()))  # noqa: T201 - the parent reads it
        return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
