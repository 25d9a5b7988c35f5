"""Run files in tflite-runtime 2.14, the last release that old boards have.

It needs Python 3.11 and NumPy 1, so it lives in an interpreter of its own. The variable
``EDGEOPS_TFLITE_RUNTIME_PYTHON`` names one where ``tflite-runtime`` is installed.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from converters.arrays import Array
from converters.tflite.lowering import TfliteModel

VARIABLE = "EDGEOPS_TFLITE_RUNTIME_PYTHON"

_SCRIPT = """
import sys
import numpy
from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
samples = numpy.load(sys.argv[2])
inputs = {one["name"]: one["index"] for one in interpreter.get_input_details()}
found = {one["name"]: [] for one in interpreter.get_output_details()}
for number in range(len(samples[next(iter(inputs))])):
    for name, index in inputs.items():
        interpreter.set_tensor(index, samples[name][number])
    interpreter.invoke()
    for one in interpreter.get_output_details():
        found[one["name"]].append(interpreter.get_tensor(one["index"]))
numpy.savez(sys.argv[3], **found)
"""


def interpreter() -> str:
    """Return the program, or skip the test."""
    program = os.environ.get(VARIABLE, "")
    if not program:
        pytest.skip(f"{VARIABLE} names no interpreter with tflite-runtime 2.14")
    return program


class OldRuntime:
    """A file, run in the old runtime; inputs are given in ONNX's NCHW order."""

    def __init__(self, model: TfliteModel, folder: Path) -> None:
        self._program = interpreter()
        self._model = model
        self._folder = folder
        (folder / "model.tflite").write_bytes(model.data)

    def run(self, samples: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """Return output name -> answers, stacked along a new first axis."""
        stacked: dict[str, Array] = {}
        for name in samples[0]:
            values = np.stack([sample[name] for sample in samples])
            if self._model.input_layouts[name] == "nhwc":
                values = values.transpose(0, 1, 3, 4, 2)
            stacked[name] = np.ascontiguousarray(values)
        source, result = self._folder / "inputs.npz", self._folder / "outputs.npz"
        np.savez(source, allow_pickle=False, **stacked)
        command = [self._program, "-c", _SCRIPT, str(self._folder / "model.tflite")]
        done = subprocess.run(
            [*command, str(source), str(result)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-500:]
        with np.load(result) as found:
            return {name: found[name] for name in found.files}
