"""A peer: onnxruntime's own static quantizer with its defaults.

    python peer_ort.py MODEL.onnx CALIBRATION.npz OUT.onnx

A script of its own, so that it can run in any interpreter that has the tool.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Reader(CalibrationDataReader):  # type: ignore[misc] # untyped base class
    """Hands the tensors of an archive out, one by one."""

    def __init__(self, tensors: npt.NDArray[np.float32], name: str) -> None:
        self._feeds: Iterator[dict[str, npt.NDArray[np.float32]]] = (
            {name: tensor} for tensor in tensors
        )

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """Return the next feed."""
        return next(self._feeds, None)


def main() -> None:
    source, calibration, out = (Path(word) for word in sys.argv[1:4])
    with np.load(calibration) as archive:
        tensors, name = archive["x"], str(archive["name"])
    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(out), Reader(tensors, name))


if __name__ == "__main__":
    main()
