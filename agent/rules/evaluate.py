"""What an expression says about one result; pure."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.rules.grammar import Both, Call, Compare, Either, Expression, Negation, calls
from edgeops.contracts.result import Result

_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One result and the labels that its ``scores`` stand for."""

    result: Result
    labels: tuple[str, ...]


def holds(expression: Expression, answer: Answer) -> bool:
    """Return whether the expression is true of the answer."""
    match expression:
        case Compare(call=call, operator=sign, number=number):
            return _COMPARE[sign](figure(call, answer), number)
        case Both(parts=parts):
            return all(holds(part, answer) for part in parts)
        case Either(parts=parts):
            return any(holds(part, answer) for part in parts)
        case Negation(part=part):
            return not holds(part, answer)


def figures(expression: Expression, answer: Answer) -> dict[str, float]:
    """Return the value of every call, by its text: an alert's evidence."""
    return {str(call): figure(call, answer) for call in calls(expression)}


def figure(call: Call, answer: Answer) -> float:
    """Return the value of one call; 0 for a label that was not seen."""
    result = answer.result
    if call.name == "count":
        seen = (o for o in result.objects if o.label == call.label and o.score >= call.least)
        return float(sum(1 for _ in seen))
    if call.name == "label":
        return float(result.label == call.label)
    if call.name == "score":
        return _score(call.label, answer)
    return result.score


def _score(label: str, answer: Answer) -> float:
    result = answer.result
    if result.task == "detection":
        return max((o.score for o in result.objects if o.label == label), default=0.0)
    for name, score in zip(answer.labels, result.scores, strict=False):
        if name == label:
            return score
    return result.score if result.label == label else 0.0
