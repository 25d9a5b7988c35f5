"""The language of ``when`` and ``clear``: comparisons of a few functions, and, or, not.

    expression = term { "or" term }
    term       = factor { "and" factor }
    factor     = "not" factor | "(" expression ")" | comparison
    comparison = function ("<" | "<=" | ">" | ">=" | "==" | "!=") number
    function   = name "(" [ argument { "," argument } ] ")"
    argument   = label | "label in quotes" | number

Pure; bounded in length and depth, so that no document can make it slow.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from edgeops.contracts.manifest import TaskType
from edgeops.errors import ContractError

MAX_LENGTH: Final = 500
MAX_DEPTH: Final = 16

Operator = Literal["<", "<=", ">", ">=", "==", "!="]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?![A-Za-z_]))"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_-]*)"
    r'|"(?P<quoted>[^"]{1,100})"'
    r"|(?P<sign><=|>=|==|!=|<|>|\(|\)|,))"
)
_OPERATORS: Final[tuple[Operator, ...]] = ("<", "<=", ">", ">=", "==", "!=")


@dataclass(frozen=True, slots=True)
class Signature:
    """What one function takes and which tasks it can be asked about."""

    arguments: tuple[Literal["label", "number"], ...]
    optional: int
    tasks: frozenset[TaskType]


FUNCTIONS: Final[dict[str, Signature]] = {
    "count": Signature(("label", "number"), 1, frozenset({"detection"})),
    "score": Signature(("label",), 0, frozenset({"classification", "keyword", "detection"})),
    "label": Signature(("label",), 0, frozenset({"classification", "keyword", "anomaly"})),
    "anomaly": Signature((), 0, frozenset({"anomaly"})),
    "value": Signature((), 0, frozenset({"regression"})),
}

ANOMALY_LABELS: Final = ("normal", "anomaly")


@dataclass(frozen=True, slots=True)
class Call:
    """One function with its arguments, such as ``count(person, 0.5)``."""

    name: str
    label: str = ""
    least: float = 0.0

    def __str__(self) -> str:
        """Return the call as it is written; names the figure in an alert's evidence."""
        shown = self.label if re.fullmatch(r"[A-Za-z0-9_-]*", self.label) else f'"{self.label}"'
        least = f", {self.least:g}" if self.least else ""
        return f"{self.name}({shown}{least})"


@dataclass(frozen=True, slots=True)
class Compare:
    """``call operator number``."""

    call: Call
    operator: Operator
    number: float


@dataclass(frozen=True, slots=True)
class Both:
    """Every part holds (``and``)."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one part holds (``or``)."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """The part does not hold (``not``)."""

    part: "Expression"


Expression = Compare | Both | Either | Negation


def parse(text: str) -> Expression:
    """Return the expression in ``text``.

    Raises:
        ContractError: Not in the language; the reason says where (counted from 1) and what stood
            there. ``path`` is ``expression``; the caller knows the place in the document.
    """
    if len(text) > MAX_LENGTH:
        raise _wrong(f"is {len(text)} characters long, at most {MAX_LENGTH} are read")
    return _Parser(text).whole()


def calls(expression: Expression) -> Iterator[Call]:
    """Yield every call, in order."""
    match expression:
        case Compare(call=call):
            yield call
        case Negation(part=part):
            yield from calls(part)
        case Both(parts=parts) | Either(parts=parts):
            for part in parts:
                yield from calls(part)


def labels_named(expression: Expression) -> frozenset[str]:
    """Return the labels that a model must know for this expression."""
    return frozenset(
        call.label
        for call in calls(expression)
        if call.label and not (call.name == "label" and call.label in ANOMALY_LABELS)
    )


def tasks_possible(expression: Expression) -> frozenset[TaskType]:
    """Return the tasks whose results every call of the expression can be asked about."""
    tasks = [FUNCTIONS[call.name].tasks for call in calls(expression)]
    return frozenset.intersection(*tasks)


def mismatches(expression: Expression, task: TaskType, labels: tuple[str, ...]) -> Iterator[str]:
    """Yield one sentence for each call that a model of this task and labels cannot answer."""
    known = ANOMALY_LABELS if task == "anomaly" else labels
    for call in calls(expression):
        if task not in FUNCTIONS[call.name].tasks:
            fitting = ", ".join(n for n, s in sorted(FUNCTIONS.items()) if task in s.tasks)
            hint = f"; it answers {fitting}" if fitting else ""
            yield f"{call} cannot be asked of a model for {task}{hint}"
        elif call.label and call.label not in known:
            near = difflib.get_close_matches(call.label, known, n=1, cutoff=0.5)
            some = ", ".join(known[:8]) + (" …" if len(known) > 8 else "")  # noqa: PLR2004
            hint = f"did you mean {near[0]!r}?" if near else f"it knows {some}"
            yield f"the model has no label {call.label!r}; {hint}"


def _wrong(reason: str) -> ContractError:
    return ContractError("expression", reason)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: Literal["number", "word", "quoted", "sign", "end"]
    text: str
    column: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text)


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            rest = text[at:].lstrip()
            raise _wrong(f"cannot read {rest[:20]!r} at character {len(text) - len(rest) + 1}")
        for kind in ("number", "word", "quoted", "sign"):
            if match[kind] is not None:
                yield _Token(kind, match[kind], match.start(kind) + 1)
        at = match.end()
    yield _Token("end", "", end + 1)


class _Parser:
    """Recursive descent, one token ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def whole(self) -> Expression:
        expression = self._either(0)
        if self._now.kind != "end":
            raise self._expected("'and', 'or' or the end")
        return expression

    @property
    def _now(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._now
        self._at += 1
        return token

    def _is(self, text: str) -> bool:
        return self._now.kind in {"word", "sign"} and self._now.text == text

    def _expected(self, what: str) -> ContractError:
        return _wrong(f"expected {what} at character {self._now.column}, found {self._now}")

    def _either(self, depth: int) -> Expression:
        parts = [self._both(depth)]
        while self._is("or"):
            self._take()
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self, depth: int) -> Expression:
        parts = [self._factor(depth)]
        while self._is("and"):
            self._take()
            parts.append(self._factor(depth))
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _factor(self, depth: int) -> Expression:
        if depth >= MAX_DEPTH:
            raise _wrong(f"is nested deeper than {MAX_DEPTH} levels")
        if self._is("not"):
            self._take()
            return Negation(self._factor(depth + 1))
        if self._is("("):
            self._take()
            inner = self._either(depth + 1)
            self._close()
            return inner
        return self._comparison()

    def _close(self) -> None:
        if not self._is(")"):
            raise self._expected("')'")
        self._take()

    def _comparison(self) -> Compare:
        call = self._call()
        operator = next((known for known in _OPERATORS if self._is(known)), None)
        if operator is None:
            raise self._expected("a comparison such as > or ==")
        self._take()
        if self._now.kind != "number":
            raise self._expected("a number")
        return Compare(call, operator, float(self._take().text))

    def _call(self) -> Call:
        name = self._now
        if name.kind != "word" or name.text not in FUNCTIONS:
            near = difflib.get_close_matches(name.text, FUNCTIONS, n=1) if name.text else []
            hint = f"{near[0]!r}" if near else "one of " + ", ".join(sorted(FUNCTIONS))
            raise self._expected(f"a function ({hint})")
        self._take()
        if not self._is("("):
            raise self._expected("'('")
        self._take()
        label, least = "", 0.0
        signature = FUNCTIONS[name.text]
        for number, kind in enumerate(signature.arguments):
            if self._is(")") and number >= len(signature.arguments) - signature.optional:
                break
            if number:
                if not self._is(","):
                    raise self._expected("',' or ')'" if signature.optional else "')'")
                self._take()
            if kind == "label":
                if self._now.kind not in {"word", "quoted"}:
                    raise self._expected("a label")
                label = self._take().text
            else:
                if self._now.kind != "number":
                    raise self._expected("a number")
                least = float(self._take().text)
        self._close()
        return Call(name.text, label, least)
