"""Dilated convolutions as TensorFlow 1 wrote them: blocks to batch, convolve, and back.

SPACE_TO_BATCH_ND, a convolution without padding, and BATCH_TO_SPACE_ND with the same block
are one convolution whose dilation is the block; cropping takes from its padding.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from converters.importing.tflite.file import LEFT_OUT, FileGraph, FileOperator

_CONVOLUTIONS: Final = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_VALID: Final = 1
_AXES: Final = 2


def join_dilated(graph: FileGraph) -> FileGraph:
    """Return ``graph`` with each such triple as one convolution."""
    readers = Counter(index for operator in graph.operators for index in set(operator.inputs))
    readers.update(graph.outputs)
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    joined: dict[int, FileOperator] = {}
    gone: set[int] = set()
    for last in graph.operators:
        middle = _maker(last, makers, readers) if last.code == "BATCH_TO_SPACE_ND" else None
        if middle is None or middle.code not in _CONVOLUTIONS:
            continue
        first = _maker(middle, makers, readers)
        if first is None or first.code != "SPACE_TO_BATCH_ND":
            continue
        options = _options(graph, first, middle, last)
        if options is not None:
            inputs = (first.inputs[0], *middle.inputs[1:])
            joined[last.index] = replace(
                middle, inputs=inputs, outputs=last.outputs, options=options
            )
            gone |= {first.index, middle.index}
    return replace(
        graph,
        operators=tuple(
            joined.get(operator.index, operator)
            for operator in graph.operators
            if operator.index not in gone
        ),
    )


def _maker(
    operator: FileOperator, makers: Mapping[int, FileOperator], readers: Mapping[int, int]
) -> FileOperator | None:
    """Return what makes input 0 if nothing else reads that tensor."""
    place = operator.inputs[0] if operator.inputs else LEFT_OUT
    return makers.get(place) if readers[place] == 1 else None


def _options(
    graph: FileGraph, first: FileOperator, middle: FileOperator, last: FileOperator
) -> dict[str, int | float | bool] | None:
    block, pads = (_numbers(graph, first, index) for index in (1, 2))
    back, crops = (_numbers(graph, last, index) for index in (1, 2))
    if block is None or pads is None or crops is None or back != block:
        return None
    if len(block) != _AXES or len(pads) != 2 * _AXES or len(crops) != 2 * _AXES:
        return None
    options = middle.options
    plain = (
        options["padding"] == _VALID
        and options["stride_h"] == options["stride_w"] == 1
        and options["dilation_h_factor"] == options["dilation_w_factor"] == 1
    )
    amounts = [pad - crop for pad, crop in zip(pads, crops, strict=True)]
    if not plain or min(amounts) < 0 or min(block) < 1:
        return None
    return {
        **options,
        "dilation_h_factor": block[0],
        "dilation_w_factor": block[1],
        "pad_top": amounts[0],
        "pad_bottom": amounts[1],
        "pad_left": amounts[2],
        "pad_right": amounts[3],
    }


def _numbers(graph: FileGraph, operator: FileOperator, index: int) -> list[int] | None:
    if index >= len(operator.inputs) or operator.inputs[index] == LEFT_OUT:
        return None
    value = graph.tensors[operator.inputs[index]].value()
    return None if value is None else [int(v) for v in value.astype(np.int64).ravel()]
