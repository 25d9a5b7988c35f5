"""How much memory a graph's tensors need at once, where each lives only as long as it is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

ALIGNMENT: Final = 16
"""TensorFlow Lite Micro starts every tensor at a multiple of so many bytes."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operator: the tensors that it reads and makes, by number."""

    reads: tuple[int, ...]
    makes: tuple[int, ...]


def peak_bytes(
    sizes: Mapping[int, int],
    steps: Sequence[Step],
    *,
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> int:
    """Return the largest sum of the tensors that are alive during one step.

    A lower bound of what an interpreter needs: its memory planner may leave gaps, and it keeps
    structures of its own beside the tensors.

    Args:
        sizes: Bytes by tensor number; constants, which stay in the file, are left out.
        steps: Operators in the order in which they run.
        inputs: Tensors that are there before the first step.
        outputs: Tensors that must be there after the last one.
    """
    last_read = {number: index for index, step in enumerate(steps) for number in step.reads}
    last_read |= dict.fromkeys(outputs, len(steps))
    alive = {number for number in inputs if number in sizes}
    peak = sum(_aligned(sizes[number]) for number in alive)
    for index, step in enumerate(steps):
        alive |= {number for number in step.makes if number in sizes}
        peak = max(peak, sum(_aligned(sizes[number]) for number in alive))
        alive = {number for number in alive if last_read.get(number, -1) > index}
    return peak


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
