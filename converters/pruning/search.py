"""Find the largest cut that a budget allows, and say all that was tried."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from converters.arrays import Feeds
from converters.graph import Graph
from converters.pruning.prune import Pruned, Pruner
from edgeops.errors import UsageError

STEPS: Final = 20
"""Ratios are tried in steps of 5 %."""
LOOK_AHEAD: Final = 2
"""So many larger cuts are tried after the first that fails: a drop need not rise evenly."""


@dataclass(frozen=True, slots=True)
class PruneTrial:
    """One ratio tried.

    Attributes:
        ratio: Share of the prunable channels that was asked for.
        removed: Share that went.
        parameters: What is left of the floating-point constants.
        macs: What is left of the multiply-accumulates.
        drop: What ``judge`` said.
        passed: Whether that is within the budget.
    """

    ratio: float
    removed: float
    parameters: int
    macs: int
    drop: float
    passed: bool


@dataclass(frozen=True, slots=True)
class PruneSearch:
    """The largest cut tried that passed, if one did, and all trials by ratio."""

    best: Pruned | None
    tried: tuple[PruneTrial, ...]


def search(
    graph: Graph,
    feeds: Sequence[Feeds],
    judge: Callable[[Graph], float],
    max_drop: float,
    *,
    multiple: int = 8,
) -> PruneSearch:
    """Return the largest cut of ``graph`` whose drop is within ``max_drop``.

    The ratio is halved in on a grid; then larger cuts are tried until ``LOOK_AHEAD`` in a row
    fail. Ratios that remove the same channels are tried once.

    Args:
        graph: A normalised float graph.
        feeds: Unlabelled inputs, 100 to 400; not the data that ``judge`` uses.
        judge: Returns how much worse a graph is than the unpruned original.
        max_drop: The budget, 0 or more, in the unit of ``judge``.
        multiple: What the channels kept of each group are a multiple of.

    Raises:
        UsageError: The budget is negative.
        ConversionError: There is nothing to prune, or the samples are missing or unsound.
    """
    if not max_drop >= 0.0:
        raise UsageError(f"the budget for pruning is 0 or more, found {max_drop}")
    pruner = Pruner(graph, feeds, multiple=multiple)
    ratios = pruner.distinct([step / STEPS for step in range(1, STEPS)])
    trials: dict[float, PruneTrial] = {}
    best: Pruned | None = None

    def passes(ratio: float) -> bool:
        nonlocal best
        if ratio not in trials:
            pruned = pruner.cut(ratio)
            drop = judge(pruned.graph)
            passed = drop <= max_drop
            trials[ratio] = PruneTrial(
                ratio, pruned.removed, pruned.parameters[1], pruned.macs[1], drop, passed
            )
            if passed and (best is None or pruned.removed > best.removed):
                best = pruned
        return trials[ratio].passed

    low, high = -1, len(ratios)
    while high - low > 1:
        middle = (low + high) // 2
        if passes(ratios[middle]):
            low = middle
        else:
            high = middle
    failed = 0
    for ratio in ratios[high:]:
        failed = 0 if passes(ratio) else failed + 1
        if failed > LOOK_AHEAD:
            break
    return PruneSearch(best, tuple(trials[ratio] for ratio in sorted(trials)))
