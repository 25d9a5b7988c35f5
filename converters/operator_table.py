"""The reference page of supported operators, written from the code.

``python -m converters.operator_table docs/reference/operators.md`` rewrites the page and
runs ONNX's own cases for the counts in it; a test holds the page to the code.
"""

import argparse
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from converters.quant.operators import RECURRENT, integer_operators
from converters.tflite.catalog import AT_IMPORT, HANDLERS

_HEAD: Final = """\
# Operators

Written by `python -m converters.operator_table` from the code; a test keeps it true.

Every operator that ONNX Runtime knows reaches the float ONNX output. This page says what has
a TFLite form, and what computes in integers. Attributes that are not named here are supported
in full or refused; a refusal names the node, the operator, the reason and what to do. Element
types are float32, int32, int64 and truth values as far as a row says so; float16 models are
widened on import. Shapes must be known before the model runs.

An operator that has an integer form may still stay float: the plan decides by accuracy.

"""

_TABLE_HEAD: Final = """\
## Table

| operator | float TFLite | int8 TFLite and int8 ONNX | how, and what is refused |
|---|---|---|---|
"""

_COUNTS_HEAD: Final = """\
## ONNX's own cases

The `onnx` package brings small models with the results that the specification demands.
`python -m converters.tflite.conformance` runs those whose operators are in the table: each
is right in LiteRT (with and without XNNPACK, its inputs constant or computed), or refused.

"""


def operators() -> tuple[str, ...]:
    """Return the names of all operators in the table."""
    return tuple(sorted({*HANDLERS, *AT_IMPORT, *integer_operators()}))


def table() -> str:
    """Return the table, one row per operator."""
    return _TABLE_HEAD + "".join(f"{_row(name)}\n" for name in operators())


def _row(name: str) -> str:
    in_float = "yes" if name in HANDLERS else "at import" if name in AT_IMPORT else "no"
    return f"| {name} | {in_float} | {_integer(name)} | {_note(name)} |"


def _integer(name: str) -> str:
    if name in RECURRENT:
        return "weights only"
    condition = integer_operators().get(name)
    if condition is None:
        return "no"
    return f"yes: {condition}" if condition else "yes"


def _note(name: str) -> str:
    """Return what the handler's docstring says, as one line."""
    if name in AT_IMPORT:
        return "Folded or rewritten when the model is read; refused where that cannot be."
    text = inspect.getdoc(HANDLERS[name]) if name in HANDLERS else None
    return " ".join((text or "").split()).replace("``", "`").replace("|", "\\|")


def counts(version: str, summary: str) -> str:
    """Return the section with the counts of the ``onnx`` package of ``version``."""
    return f"{_COUNTS_HEAD}With onnx {version}: {summary}.\n"


def page(version: str, summary: str) -> str:
    """Return the whole page."""
    return f"{_HEAD}{table()}\n{counts(version, summary)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="converters.operator_table", description=__doc__)
    parser.add_argument("path", type=Path)
    options = parser.parse_args(arguments)
    # The cases need onnx and both runtimes; the table alone does not run them.
    import onnx  # noqa: PLC0415

    from converters.tflite.conformance import cases, judge, summary  # noqa: PLC0415

    outcomes = [judge(case) for case in cases()]
    options.path.write_text(page(onnx.__version__, summary(outcomes)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
