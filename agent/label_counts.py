"""How often each label was the answer, bounded."""

from collections.abc import Iterable
from typing import Final

from edgeops.contracts.result import Result

NOTHING: Final = "(none)"
"""A picture without any object."""

OTHERS: Final = "(other)"
MAX_LABELS: Final = 100


def answers(result: Result) -> tuple[str, ...]:
    """Return the labels that a result counts for: the best class, or each kind of object once."""
    if result.task == "detection":
        return tuple(dict.fromkeys(o.label for o in result.objects)) or (NOTHING,)
    return (result.label,) if result.label else ()


class LabelCounter:
    """Counts labels; past ``MAX_LABELS`` different ones the rest share one entry."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, labels: Iterable[str]) -> None:
        """Count one answer."""
        for label in labels:
            known = label in self.counts or len(self.counts) < MAX_LABELS
            name = label if known else OTHERS
            self.counts[name] = self.counts.get(name, 0) + 1
