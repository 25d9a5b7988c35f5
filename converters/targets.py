"""Boards and processors, and what they prefer in a model file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from converters.quant.write_onnx import ActivationType


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a processor prefers.

    Attributes:
        activations: Integer type of activations in ONNX int8 files. ONNX Runtime is 2-10
            times faster with uint8 on x86 and with int8 on ARM; the numbers are the same.
    """

    activations: ActivationType


_ARM: Final = Target(activations="int8")

TARGETS: Final[Mapping[str, Target]] = {
    "jetson-nano": _ARM,
    "jetson-orin": _ARM,
    "raspberry-pi-3": _ARM,
    "raspberry-pi-4": _ARM,
    "raspberry-pi-5": _ARM,
    "raspberry-pi-zero-2": _ARM,
    "x86-64": Target(activations="uint8"),
}
