"""Which channels stand or fall together: a union-find over channel numbers."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Ids: TypeAlias = npt.NDArray[np.int64]
"""One channel number per index along an axis; equal numbers are removed together."""

Role = Literal["in", "out", "side"]
"""What a constant's axis is to its layer: summed over, produced, or one value per channel."""


@dataclass(frozen=True, slots=True)
class ChannelAxis:
    """The prunable axis of a tensor, and the channel that each index along it belongs to."""

    axis: int
    ids: Ids


@dataclass(frozen=True, slots=True)
class Cut:
    """An axis of a node's constant that shrinks with its channels.

    Attributes:
        node: Name of the node.
        index: Which of its inputs the constant is.
        constant: Name of the constant.
        axis: Axis that loses the removed channels.
        ids: Channels along that axis.
        role: ``in`` where the layer sums over the axis.
    """

    node: str
    index: int
    constant: str
    axis: int
    ids: Ids
    role: Role


class ChannelUnion:
    """Channel numbers, joined into classes that only ever grow."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._pinned: set[int] = set()

    def fresh(self, count: int) -> Ids:
        """Return ``count`` new channels, each in a class of its own."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def root(self, channel: int) -> int:
        """Return the number that stands for the class of ``channel``: its smallest."""
        parents = self._parents
        while parents[channel] != channel:
            parents[channel] = parents[parents[channel]]
            channel = parents[channel]
        return channel

    def roots(self, ids: Ids) -> Ids:
        """Return the class of each of ``ids``."""
        return np.asarray([self.root(int(channel)) for channel in ids], dtype=np.int64)

    def unite(self, left: Ids, right: Ids) -> None:
        """Join the classes of ``left[i]`` and ``right[i]`` for every i; lengths are equal."""
        for one, other in zip(left, right, strict=True):
            a, b = self.root(int(one)), self.root(int(other))
            self._parents[max(a, b)] = min(a, b)

    def pin(self, ids: Ids) -> None:
        """Say that ``ids`` must never be removed."""
        self._pinned.update(int(channel) for channel in ids)

    def pinned(self) -> frozenset[int]:
        """Return the classes with a pinned member."""
        return frozenset(self.root(channel) for channel in self._pinned)
