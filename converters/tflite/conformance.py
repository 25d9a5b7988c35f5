"""ONNX's own operator cases against the TFLite writer: right or refused, never wrong.

The ``onnx`` package makes small models with inputs and the outputs that its specification
demands. Each one whose operators have a handler here is imported, lowered and run in
LiteRT, with and without XNNPACK. Run as ``python -m converters.tflite.conformance``.

Some operators are defined by others; the package writes their cases a second time in that
form, with "expanded" in the name. The counts keep the two apart.
"""

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import onnx
import onnx.numpy_helper
from onnx.backend.test.case.node import collect_testcases

from converters.arrays import Array, Feeds, as_floats
from converters.importing.importer import import_model
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.tflite.catalog import AT_IMPORT, HANDLERS, lower_to_tflite
from converters.tflite.run import LiteRtModel
from edgeops.errors import ConversionError

Verdict = Literal["passed", "refused", "wrong"]
VERDICTS: Final[tuple[Verdict, ...]] = ("passed", "refused", "wrong")
Case: TypeAlias = onnx.backend.test.case.test_case.TestCase

RELATIVE_TOLERANCE: Final = 1e-3
ABSOLUTE_TOLERANCE: Final = 1e-5
"""ONNX's own defaults for numbers; truth values and whole numbers must be equal."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case.

    Attributes:
        case: ONNX's name of it.
        operators: In the model.
        verdict: ``wrong`` also stands for a file that does not load or run.
        detail: Why it was refused, or what is wrong.
    """

    case: str
    operators: tuple[str, ...]
    verdict: Verdict
    detail: str = ""


def cases() -> Iterator[Case]:
    """Yield the cases all of whose operators we register, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    known = set(HANDLERS) | AT_IMPORT
    for case in sorted(found, key=lambda case: str(case.name)):
        nodes = case.model.graph.node
        own = all(node.domain in ("", "ai.onnx") for node in nodes)
        if own and case.data_sets and {node.op_type for node in nodes} <= known:
            yield case


def judge(case: Case) -> Outcome:
    """Return what becomes of ``case`` with its inputs at run time and, by turns, constant."""
    operators = tuple(sorted({node.op_type for node in case.model.graph.node}))
    refusal, passed = "", False
    for number, moving in enumerate(_ways(case)):
        try:
            wrong = _mistake(case, moving, thorough=number == 0)
        except ConversionError as error:
            refusal = refusal or str(error)
            continue
        if wrong:
            return Outcome(str(case.name), operators, "wrong", wrong)
        passed = True
    if passed:
        return Outcome(str(case.name), operators, "passed")
    return Outcome(str(case.name), operators, "refused", refusal)


def _ways(case: Case) -> list[frozenset[str]]:
    """Return which inputs to keep as inputs: as exporters write it, all, all but the first."""
    names = [value.name for value in case.model.graph.input]
    ways = [frozenset(names[:1]), frozenset(names), frozenset(names[1:])]
    return [way for way in dict.fromkeys(ways) if way or not names]


def _mistake(case: Case, moving: frozenset[str], *, thorough: bool) -> str:
    """Return what is wrong with the file for one way of feeding the case, or an empty text.

    Args:
        case: One of ``cases()``.
        moving: The inputs that stay inputs.
        thorough: Whether to judge import by itself, and kernels without XNNPACK, too.

    Raises:
        ConversionError: The tool refuses the model, which is always a right answer.
    """
    data, feeds = _bind(case, moving)
    graph = import_model(data)
    # Import widens float16, so the hub's inputs may be wider than the case's.
    fed = {name: feeds[name].astype(graph.dtype(name)) for name in graph.inputs}
    if thorough and (wrong := _import_mistake(data, feeds, serialize(graph), fed)):
        return wrong
    lowered = lower_to_tflite(graph)
    expected = dict(
        zip((o.name for o in case.model.graph.output), case.data_sets[0][1], strict=True)
    )
    for delegate in (True, False) if thorough else (True,):
        try:
            found = LiteRtModel(lowered, delegate=delegate).run(fed)
        except ConversionError as error:
            return str(error)
        if wrong := _difference(expected, found):
            return wrong if delegate else f"without XNNPACK, {wrong}"
    return ""


def _bind(case: Case, moving: frozenset[str]) -> tuple[bytes, Feeds]:
    """Return the case's model with all inputs but ``moving`` made constants, and the feeds.

    Raises:
        ConversionError: An input is no tensor, or no element type of NumPy.
    """
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    values = dict(zip((i.name for i in model.graph.input), case.data_sets[0][0], strict=True))
    feeds: Feeds = {}
    for name, value in values.items():
        array = np.asarray(value)
        if isinstance(value, list) or array.dtype.kind not in "fiubc":
            raise ConversionError(f"input {name!r} is no tensor of numbers")
        if name in moving and array.size == 0:
            raise ConversionError(f"input {name!r} is empty")
        if name in moving:
            feeds[name] = array
        else:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    kept = []
    for value in model.graph.input:
        if value.name in moving:
            # Symbolic sizes are bound to what the case feeds, as a user would with --shape.
            dims = value.type.tensor_type.shape.dim
            for dim, size in zip(dims, feeds[value.name].shape, strict=False):
                dim.dim_value = size
            kept.append(value)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return bytes(model.SerializeToString()), feeds


def _import_mistake(data: bytes, feeds: Feeds, imported: bytes, fed: Feeds) -> str:
    """Return what import changed, as ONNX Runtime sees it, or an empty text."""
    try:
        original = OrtModel(data).run(feeds)
    except ConversionError:
        return ""  # the runtime lacks the operator set or the element type
    try:
        found = OrtModel(imported).run(fed)
    except ConversionError as error:
        return f"the imported model does not run: {error}"
    wrong = _difference(original, found)
    return f"the imported model differs: {wrong}" if wrong else ""


def _difference(expected: Mapping[str, Array], found: Mapping[str, Array]) -> str:
    for name, value in expected.items():
        want, have = np.asarray(value), found[name]
        if have.shape != want.shape:
            return f"output {name!r} has the shape {have.shape}, expected {want.shape}"
        if want.dtype not in {have.dtype, np.dtype(np.float16)}:
            return f"output {name!r} is {have.dtype}, expected {want.dtype}"
        if want.dtype.kind != "f":
            if not np.array_equal(have, want):
                return f"output {name!r} differs in {int(np.sum(have != want))} elements"
        elif not np.allclose(
            have, want, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE, equal_nan=True
        ):
            return (
                f"output {name!r} is off by {np.abs(as_floats(have) - as_floats(want)).max():.3g}"
            )
    return ""


def tally(outcomes: Iterable[Outcome]) -> dict[Verdict, int]:
    """Return how many cases there are of each verdict."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    return {verdict: counts[verdict] for verdict in VERDICTS}


def is_expanded(outcome: Outcome) -> bool:
    """Whether a case is the second writing of another one."""
    return "_expanded" in outcome.case


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return the counts in words, expanded cases apart."""
    plain, expanded = (
        tally(o for o in outcomes if is_expanded(o) == wanted) for wanted in (False, True)
    )
    words = (", ".join(f"{counts[v]} {v}" for v in VERDICTS) for counts in (plain, expanded))
    return "{}; written out in simpler operators: {}".format(*words)


def main(arguments: list[str] | None = None) -> int:
    """Judge all cases and print the counts; the status is 1 where any is wrong."""
    parser = argparse.ArgumentParser(prog="converters.tflite.conformance", description=__doc__)
    parser.add_argument("--list", action="store_true", help="print every case")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    outcomes = [judge(case) for case in cases()]
    counts = tally(outcomes)
    if options.json:
        document = {"counts": counts, "cases": [asdict(outcome) for outcome in outcomes]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        for outcome in outcomes:
            if options.list or outcome.verdict == "wrong":
                sys.stdout.write(f"{outcome.verdict} {outcome.case} {outcome.detail}".rstrip())
                sys.stdout.write("\n")
        sys.stdout.write(summary(outcomes) + "\n")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
