"""Make a model that anyone could ship by mistake: pruned far too hard and never repaired.

In every convolution a quarter of the filters, those with the smallest weights, are set to zero,
with their biases, and nothing is trained afterwards: all parts become ``defect``. The file loads,
has the same size and answers as fast; it only no longer knows what it sees. EdgeOps' own pruning
searches the largest cut within a budget and measures it; this script does neither, so that a
rollout has something to stop.

    python examples/visual_inspection/prune_too_hard.py visual-v1.onnx visual-v2.onnx
"""

import argparse
import math
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

SHARE = 0.25


def prune_filters(model: onnx.ModelProto, share: float) -> int:
    """Zero the weakest ``share`` of the filters of each convolution in place; return how many.

    Args:
        model: Weights are initializers ``[filters, channels, height, width]``.
        share: 0 to 1; at least one filter of each convolution stays.
    """
    weights = {one.name: one for one in model.graph.initializer}
    zeroed = 0
    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        values = numpy_helper.to_array(weights[node.input[1]])
        strength = np.abs(values).sum(axis=(1, 2, 3))
        count = min(math.floor(share * len(values)), len(values) - 1)
        weakest = np.argsort(strength, kind="stable")[:count]
        for name in node.input[1:]:
            array = numpy_helper.to_array(weights[name]).copy()
            array[weakest] = 0.0
            weights[name].CopyFrom(numpy_helper.from_array(array, name))
        zeroed += count
    return zeroed


def main() -> None:
    parser = argparse.ArgumentParser(description="Prune a model far too hard.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--share", type=float, default=SHARE)
    words = parser.parse_args()
    model = onnx.load(words.source)
    zeroed = prune_filters(model, words.share)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, words.target)
    print(f"{words.target}: {zeroed} filters set to zero")


if __name__ == "__main__":
    main()
