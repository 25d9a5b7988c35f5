"""Find classes and slices that compression hurts more than the rest of the data.

Compression keeps the average and can still ruin a small group (Hooker et al. 2020,
"Characterising bias in compressed models"). A group is named only where chance does not
explain it, so that the warning means something.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from converters.detections import found_objects
from converters.metrics import Truth
from edgeops.contracts.result import Result

MIN_SAMPLES: Final = 10
"""Smaller groups cannot be judged."""

ALPHA: Final = 0.05
"""Accepted chance of any false warning about one variant."""

CLASS: Final = "class"

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """What is judged, one entry each: samples, or labelled objects in images.

    Attributes:
        before: Whether the float original was right.
        after: Whether the compressed variant is.
        groups: Column name -> the value of each unit; ``class`` is the true class.
    """

    before: Flags
    after: Flags
    groups: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """A group that lost more than the rest.

    Attributes:
        column: ``class``, or a column of the data.
        value: The class, or the column's value.
        samples: Size of the group.
        before: Share that the float original had right, 0-1.
        after: Share that the variant has right.
        rest: Drop of everything else, for comparison.
        chance: Probability of such a loss by chance, corrected for the number of groups.
    """

    column: str
    value: str
    samples: int
    before: float
    after: float
    rest: float
    chance: float

    @property
    def drop(self) -> float:
        """Return the loss of the group, 0-1."""
        return self.before - self.after

    def sentence(self, variant: str) -> str:
        """Return the warning."""
        group = f"class {self.value!r}" if self.column == CLASS else f"{self.column}={self.value}"
        return (
            f"{variant} hurts {group} more than the rest: {self.before:.1%} to {self.after:.1%} "
            f"right on its {self.samples} samples, the rest loses {self.rest:+.1%} "
            f"(chance {self.chance:.2g})"
        )


def units(
    before: Sequence[Result],
    after: Sequence[Result],
    truths: Sequence[Truth],
    slices: Mapping[str, Sequence[str]],
) -> Units | None:
    """Return what can be judged right or wrong; ``None`` where nothing can.

    Without labels the float original's answers stand for the truth: its objects, its classes.

    Args:
        before: The float original's answers.
        after: The variant's.
        truths: One per answer.
        slices: Column of the data -> value of every sample.
    """
    if before and before[0].task == "detection":
        wanted = [truth.objects for truth in truths]
        if not any(wanted):
            wanted = [result.objects for result in before]
        first, second = found_objects(before, wanted), found_objects(after, wanted)
        groups = {name: [values[i] for i, _, _ in first] for name, values in slices.items()}
        return Units(
            before=np.asarray([hit for _, _, hit in first], np.bool_),
            after=np.asarray([hit for _, _, hit in second], np.bool_),
            groups={**groups, CLASS: [label for _, label, _ in first]},
        )
    labels = [truth.label for truth in truths]
    if not all(labels):
        labels = [result.label for result in before]
    if not all(labels) or not all(result.label for result in (*before, *after)):
        return None
    return Units(
        before=np.asarray([r.label == t for r, t in zip(before, labels, strict=True)]),
        after=np.asarray([r.label == t for r, t in zip(after, labels, strict=True)]),
        groups={**slices, CLASS: labels},
    )


def find_harm(found: Units) -> tuple[Harm, ...]:
    """Return the groups that lose significantly, and significantly more than the rest.

    Two exact one-sided tests must both say so. McNemar's: answers changed for the worse more
    often than for the better within the group. Fisher's: of the answers that were right, the
    group lost a larger share than the rest. The larger of both chances counts, and is corrected
    by Holm's method for the number of groups, over all columns.
    """
    candidates = []
    for column, values in sorted(found.groups.items()):
        names = np.asarray(values)
        for value in sorted(set(values)):
            inside = names == value
            if inside.sum() >= MIN_SAMPLES and not inside.all():
                candidates.append(_judge(found, column, value, inside))
    candidates.sort(key=lambda harm: (harm.chance, harm.column, harm.value))
    named: list[Harm] = []
    chance = 0.0
    for rank, harm in enumerate(candidates):
        chance = max(chance, min(1.0, harm.chance * (len(candidates) - rank)))
        if chance > ALPHA:
            break
        named.append(_with_chance(harm, chance))
    return tuple(named)


def _judge(found: Units, column: str, value: str, inside: Flags) -> Harm:
    from scipy.stats import binom, hypergeom  # noqa: PLC0415 - heavy; scikit-learn brings it

    before, after = found.before, found.after
    lost = int((inside & before & ~after).sum())
    gained = int((inside & ~before & after).sum())
    # P(at least this many of the changed answers changed for the worse), a fair coin assumed.
    worse = float(binom.sf(lost - 1, lost + gained, 0.5)) if lost else 1.0
    right, right_inside = int(before.sum()), int((inside & before).sum())
    lost_anywhere = int((before & ~after).sum())
    # P(at least this many of all lost answers fall into the group), drawn blindly.
    uneven = float(hypergeom.sf(lost - 1, right, lost_anywhere, right_inside)) if lost else 1.0
    outside = ~inside
    return Harm(
        column=column,
        value=value,
        samples=int(inside.sum()),
        before=float(before[inside].mean()),
        after=float(after[inside].mean()),
        rest=float(before[outside].mean() - after[outside].mean()),
        chance=max(worse, uneven),
    )


def _with_chance(harm: Harm, chance: float) -> Harm:
    return Harm(
        column=harm.column,
        value=harm.value,
        samples=harm.samples,
        before=round(harm.before, 6),
        after=round(harm.after, 6),
        rest=round(harm.rest, 6),
        chance=float(f"{chance:.3g}"),
    )
