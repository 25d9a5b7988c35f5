"""Pruning and training before the files are made: the session gets another graph.

The budget stays that of the unpruned original: its answers are the baseline throughout.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from converters.arrays import Feeds
from converters.finetune.options import FinetuneOptions
from converters.graph import Graph
from converters.outcome import JudgedVariant
from converters.pruning.prune import Pruned, prune
from converters.pruning.search import search
from converters.quant.ladder import TOLERANCE
from converters.recipe import Output, Pruning
from converters.session import Session
from converters.variants import write_variant
from edgeops.errors import ConversionError, UsageError

MAX_SAMPLES: Final = 400
"""Refitting gains little from more, and all of them are in memory at once."""

_FLOAT: Final = Output(runtime="onnx", precision="float32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slimmed:
    """The session with the graph that the files are made from.

    Attributes:
        session: As given, with the smaller graph.
        pruned: What pruning took away; ``None`` where none was asked for or none was possible.
        concessions: What is not as it was asked for.
    """

    session: Session
    pruned: Pruned | None = None
    concessions: tuple[str, ...] = ()


def slim(
    session: Session, baseline: JudgedVariant, work: Path, say: Callable[[str], None]
) -> Slimmed:
    """Return the session with its graph pruned and trained as the recipe says.

    Args:
        session: With the original graph.
        baseline: The original's answers.
        work: Folder for files that are judged and thrown away.
        say: Takes words for people.

    Raises:
        UsageError: There are no calibration data to refit the layers on.
        MissingExtraError: Training is asked for and PyTorch is not installed.
        ConversionError: Nothing can be pruned, or training diverges.
    """
    stated = session.recipe.prune
    slimmed = Slimmed(session=session)
    if stated is not None and stated.ratio is not None:
        slimmed = _cut(session, stated.ratio, say)
    elif stated is not None:
        slimmed = _searched(session, stated, baseline=baseline, work=work, say=say)
    options = session.recipe.finetune
    if options is None:
        return slimmed
    return _trained(slimmed, session.graph, options, say)


def _cut(session: Session, ratio: float, say: Callable[[str], None]) -> Slimmed:
    session.progress.stage("pruning")
    multiple = session.target.channel_multiple
    pruned = prune(session.graph, _feeds(session), ratio, multiple=multiple)
    say(_sentence(pruned))
    return Slimmed(session=_with_graph(session, pruned.graph), pruned=pruned)


def _trained(
    slimmed: Slimmed, teacher: Graph, options: FinetuneOptions, say: Callable[[str], None]
) -> Slimmed:
    from converters.finetune import finetune  # noqa: PLC0415 - an extra

    session = slimmed.session
    if session.calibration is None:
        raise UsageError(
            "fine-tuning learns from samples: name calibration data in the recipe or by "
            "--calibration"
        )
    graph = finetune(session.graph, teacher, session.calibration, options, say)
    return replace(slimmed, session=_with_graph(session, graph))


def _searched(
    session: Session,
    stated: Pruning,
    *,
    baseline: JudgedVariant,
    work: Path,
    say: Callable[[str], None],
) -> Slimmed:
    if session.evaluation is None:
        raise UsageError(
            "pruning as far as the budget allows needs evaluation data: name some, or a share"
        )
    budget = session.max_drop if stated.max_drop is None else stated.max_drop
    accepted = budget + TOLERANCE
    feeds = _feeds(session)
    session.progress.stage("pruning")

    def drop_of(graph: Graph) -> float:
        trial = _with_graph(session, graph)
        made = write_variant(work, graph, _FLOAT, plan=None, layout=session.recipe.input.layout)
        return trial.judge(work, made, baseline.answers).drop or 0.0

    found = search(
        session.graph, feeds, drop_of, accepted, multiple=session.target.channel_multiple
    )
    say(f"pruning: {len(found.tried)} cuts tried for a budget of {budget:g}")
    if found.best is None:
        note = f"nothing is pruned: the smallest cut costs more than {budget:g}"
        return Slimmed(session=session, concessions=(note,))
    say(_sentence(found.best))
    return Slimmed(session=_with_graph(session, found.best.graph), pruned=found.best)


def _with_graph(session: Session, graph: Graph) -> Session:
    return replace(session, graph=graph)


def _feeds(session: Session) -> list[Feeds]:
    """Return copies of at most ``MAX_SAMPLES`` calibration samples."""
    if session.calibration is None:
        raise UsageError(
            "pruning refits layers on samples: name calibration data in the recipe or by "
            "--calibration"
        )
    feeds: list[Feeds] = []
    for sample in session.calibration():
        feeds.append({name: np.array(tensor) for name, tensor in sample.items()})
        if len(feeds) == MAX_SAMPLES:
            break
    if not feeds:
        raise ConversionError("there is no calibration sample to refit pruned layers on")
    return feeds


def _sentence(pruned: Pruned) -> str:
    before, after = pruned.parameters
    macs_before, macs_after = pruned.macs
    return (
        f"pruned {pruned.removed:.1%} of the channels: parameters {before} -> {after}, "
        f"multiply-accumulates {macs_before} -> {macs_after}"
    )
