"""Lowest legal version of each kernel: newer numbers only shut out older runtimes.

Source: tensorflow/lite/tools/versioning/op_version.cc. FULLY_CONNECTED with one scale per
channel is marked as version 12 there, but runs since version 4 in every runtime that we
know, and tflite-runtime 2.14 refuses 12.
"""

from collections.abc import Mapping
from typing import Final

_INT8: Final[Mapping[str, int]] = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "RESHAPE": 1,
    "HARD_SWISH": 1,
    "QUANTIZE": 1,
}


def lowest_version(code: str, *, integer: bool) -> int:
    """Return the version of ``code`` for float tensors, or for int8 ones."""
    return _INT8.get(code, 2) if integer else 1
