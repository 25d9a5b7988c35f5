"""Choose which channels go: globally, in blocks that keep layers a round number wide."""

import heapq
from collections.abc import Mapping
from typing import Final

from converters.pruning.groups import ChannelGroup, ChannelMap

MAX_SHARE: Final = 0.5
"""No group loses more: layers cut deeper do not recover without training."""
DEAD: Final = 1e-6
"""Channels of less than this part of the average energy do not count towards ``MAX_SHARE``."""


def choose_channels(
    channels: ChannelMap, scores: Mapping[int, float], ratio: float, *, multiple: int
) -> frozenset[int]:
    """Return the classes to remove, at most ``ratio`` of all channels that may go.

    Every group offers its least important channels in blocks, such that what it keeps is a
    multiple of ``multiple``; the block that costs least per channel is taken first.

    Args:
        channels: Result of ``find_groups``.
        scores: Result of ``score_channels``.
        ratio: 0 to 1, a share of all prunable channels.
        multiple: What the number kept in each group is a multiple of.
    """
    budget = ratio * channels.prunable
    removed: set[int] = set()
    offers: list[tuple[float, int, int]] = []
    blocks = [_blocks(group, scores, multiple) for group in channels.groups]
    for number, mine in enumerate(blocks):
        _offer(offers, mine, number, 0, scores)
    while offers:
        _, number, step = heapq.heappop(offers)
        block = blocks[number][step]
        # A block may go past the budget by less than half: the nearest round numbers win.
        if len(removed) + len(block) / 2 > budget:
            continue
        removed.update(block)
        _offer(offers, blocks[number], number, step + 1, scores)
    return frozenset(removed)


def _blocks(
    group: ChannelGroup, scores: Mapping[int, float], multiple: int
) -> list[tuple[int, ...]]:
    """Return what may go from ``group``, least important first."""
    ranked = sorted(group.channels, key=lambda channel: (scores[channel], channel))
    blocks: list[tuple[int, ...]] = []
    start = 0
    while True:
        left = len(ranked) - start
        size = left % multiple or multiple
        end = start + size
        if left - size < multiple:
            return blocks
        if end > MAX_SHARE * len(ranked) and scores[ranked[end - 1]] > DEAD:
            return blocks
        blocks.append(tuple(ranked[start:end]))
        start = end


def _offer(
    offers: list[tuple[float, int, int]],
    blocks: list[tuple[int, ...]],
    number: int,
    step: int,
    scores: Mapping[int, float],
) -> None:
    if step < len(blocks):
        block = blocks[step]
        cost = sum(scores[channel] for channel in block) / len(block)
        heapq.heappush(offers, (cost, number, step))
