"""Which device comes in which stage: a fair, repeatable order. Pure.

The order depends on the rollout's salt and the devices alone, so that it can be computed again
and no device is always the canary. Every prefix of it holds each kind of device (board and site)
in proportion, off by less than two devices.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleet.rollouts.spec import StageSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A device that a rollout is for."""

    device: str
    board: str = ""
    site: str = ""


def ordered(candidates: Iterable[Candidate], *, salt: str) -> tuple[str, ...]:
    """Return the devices in the order in which a rollout reaches them.

    Each stratum is spread evenly over the whole order, from an offset of its own, so that strata
    of one device each do not all come first.
    """
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for candidate in candidates:
        strata[candidate.board, candidate.site].append(candidate.device)
    placed: list[tuple[float, float, str]] = []
    for (board, site), devices in strata.items():
        offset = _draw(salt, "stratum", board, site)
        ranked = sorted((_draw(salt, "device", device), device) for device in devices)
        placed += [
            ((i + offset) / len(ranked), draw, device) for i, (draw, device) in enumerate(ranked)
        ]
    return tuple(device for _, _, device in sorted(placed))


def sizes(stages: Sequence[StageSpec], members: int) -> tuple[int, ...]:
    """Return how many devices each stage adds; a stage may add none in a small fleet."""
    added: list[int] = []
    before = 0
    for stage in stages:
        if stage.percent is not None:
            total = math.ceil(members * stage.percent / 100 - 1e-9)
        else:
            total = min(stage.count or 0, members)
        total = max(before, total)
        added.append(total - before)
        before = total
    return tuple(added)


def _draw(*words: str) -> float:
    """Return a number in [0, 1) that looks random and is always the same for the same words."""
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)
