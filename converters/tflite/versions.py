"""Lowest legal version of each kernel: newer numbers only shut out older runtimes.

Source: tensorflow/lite/tools/versioning/op_version.cc. FULLY_CONNECTED with one scale per
channel is marked as version 12 there, but runs since version 4 in every runtime that we
know, and tflite-runtime 2.14 refuses 12.
"""

from collections.abc import Mapping
from typing import Final, Literal

KernelType = Literal["float", "int8", "int16"]
"""What a kernel computes in; int16 means 16-bit activations and 8-bit weights."""

_INT8: Final[Mapping[str, int]] = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "RESHAPE": 1,
    "HARD_SWISH": 1,
    "PRELU": 1,
    "QUANTIZE": 1,
    "DEPTH_TO_SPACE": 1,
    "SPACE_TO_DEPTH": 1,
}

_INT16: Final[Mapping[str, int]] = {
    "ADD": 3,
    "CONV_2D": 4,
    "DEPTHWISE_CONV_2D": 5,
    "FULLY_CONNECTED": 7,
    "GATHER": 4,
    "LEAKY_RELU": 2,
    "MUL": 4,
    "QUANTIZE": 2,
    "RESHAPE": 1,
    "SLICE": 4,
    "SUB": 5,
    "TRANSPOSE": 4,
}


def lowest_version(code: str, kind: KernelType) -> int:
    """Return the version of ``code`` for float tensors, or for int8 or int16 ones."""
    if kind == "float":
        return 1
    return _INT8.get(code, 2) if kind == "int8" else _INT16.get(code, 3)
