"""The agent's real pipe beside a plain loop over the same model and pre-processing.

    python tests/benchmarks/bench_pipeline.py [SECONDS]

Two generated convolutional models, one below and one above three milliseconds per inference.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SECONDS = sys.argv[1] if len(sys.argv) > 1 else "20"


def write_network(path: Path, *, side: int, width: int, depth: int) -> None:
    """A plain stack of 3x3 convolutions with a classifier head; random weights."""
    rng = np.random.default_rng(1)
    nodes, weights, channels, name = [], [], 3, "input"
    for i in range(depth):
        kernel = rng.normal(0, (2 / (9 * channels)) ** 0.5, (width, channels, 3, 3))
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"w{i}"))
        stride = 2 if i < 2 else 1
        nodes.append(
            helper.make_node(
                "Conv", [name, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1], strides=[stride, stride]
            )
        )
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        name, channels = f"r{i}", width
    nodes.append(helper.make_node("GlobalAveragePool", [name], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["output"]))
    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, width])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        for title, side, width, depth in (("small", 96, 16, 6), ("large", 224, 48, 8)):
            path = Path(name) / f"{title}.onnx"
            write_network(path, side=side, width=width, depth=depth)
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "agent.benchmark",
                    str(path),
                    "--seconds",
                    SECONDS,
                    "--json",
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            print(f"{title}: {done.stdout.strip() or done.stderr.strip()}", flush=True)


if __name__ == "__main__":
    main()
