"""One inference in a process of its own: a file that crashes the runtime only ends that.

Our reader accepts a file before a runtime sees it, but checks structure, not every promise
that kernels written in C++ rely on.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np

from edgeops.contracts.scalars import DType
from edgeops.errors import ConversionError, EdgeOpsError
from edgeops.inference.runtimes.loading import open_model

SECONDS: Final = 120.0
_FAILED: Final = 70


def try_out(path: Path, title: str) -> None:
    """Run ``path`` once on zeros.

    Raises:
        ConversionError: The runtime refuses the file, crashes or does not come back.
    """
    command = [sys.executable, "-m", "converters.importing.tflite.trial", str(path)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConversionError(f"{title}: one inference takes over {SECONDS:g} s") from error
    if done.returncode < 0:
        raise ConversionError(f"{title}: the TFLite runtime crashes on it, so it is damaged")
    if done.returncode == _FAILED:
        lines = done.stdout.strip().splitlines()
        reason = lines[-1] if lines else "it gives no reason"
        raise ConversionError(f"{title}: the TFLite runtime refuses it: {reason}")
    if done.returncode != 0:
        raise ConversionError(f"{title}: the trial run failed: {done.stderr.strip()[-300:]}")


def _zeros(
    shape: tuple[int, ...], dtype: DType
) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    return np.zeros(shape, np.dtype(dtype))


def main() -> int:
    """Run the file named on the command line once and return the exit status."""
    try:
        model = open_model(Path(sys.argv[1]), "tflite")
        model.run([_zeros(spec.shape, spec.dtype) for spec in model.inputs])
    except EdgeOpsError as error:
        print(" ".join(str(error).split()))  # noqa: T201 - the parent reads it
        return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
