"""What pruning saves and costs on public models, by the share of channels that goes.

    python -m tests.benchmarks pruning
    python -m tests.benchmarks.bench_pruning [vww resnet8 flowers kws] [--out FILE.md]

Needs the folder of real models and data (EDGEOPS_DATA). No label is used but to count right
answers, and no evaluated image is pruned or calibrated on. Without labelled data (flowers) the
figure is how often the answer is that of the original. Nothing is asserted.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from converters.arrays import Array, Feeds
from converters.calibration import calibrate
from converters.graph import Graph
from converters.importing.importer import import_model
from converters.onnx_format import read_model, serialize
from converters.ort import OrtModel
from converters.pruning.prune import Pruned, Pruner
from converters.pruning.shrink import parameters
from converters.quant.operators import multiply_accumulates
from converters.quant.planner import plan_quantization
from converters.tflite.catalog import lower_to_tflite
from edgeops.errors import ConversionError
from edgeops.inference.runtimes.loading import open_model
from tests.benchmarks.machine import describe
from tests.benchmarks.scoreboard.timing import side_by_side
from tests.realdata.photos import coco_numbers, crops

RATIOS = (0.1, 0.2, 0.3, 0.5, 0.7)
CALIBRATION = 100


@dataclass(frozen=True)
class Case:
    """A model, unlabelled samples to prune on, and others with the right answers."""

    graph: Graph
    samples: list[Feeds]
    judged: list[Array]
    answers: list[int]
    labelled: bool


def images(pixels: Array, scale: float, shift: float = 0.0) -> list[Array]:
    """Return NHWC bytes as single NCHW inputs."""
    numbers = pixels.astype(np.float32) / np.float32(scale) + np.float32(shift)
    return [np.ascontiguousarray(image.transpose(2, 0, 1)[None]) for image in numbers]


def feeds(graph: Graph, inputs: list[Array]) -> list[Feeds]:
    return [{graph.inputs[0]: value} for value in inputs]


def loaded(path: Path) -> Mapping[str, npt.NDArray[np.generic]]:
    with np.load(path) as data:
        return {name: data[name] for name in data.files}


def vww(data: Path) -> Case:
    graph = import_model(read_model(data / "mlperf_tiny/models_onnx/vww_96_float.onnx"))
    judged = loaded(data / "mlperf_tiny/eval/vww01_a.npz")
    used = coco_numbers([str(name) for name in judged["files"]])
    photos = np.stack(crops(data / "detect/images", 96, each=6, without=used))
    labels = [int(label) for label in judged["y"].tolist()]
    return Case(graph, feeds(graph, images(photos, 255)), images(judged["x"], 255), labels, True)


def resnet8(data: Path) -> Case:
    graph = import_model(read_model(data / "mlperf_tiny/models_onnx/resnet8_cifar10_float.onnx"))
    pixels = loaded(data / "cifar10_jpeg/calib_train500.npz")["x"][:400]
    judged = loaded(data / "cifar10_jpeg/test_a.npz")
    labels = [int(label) for label in judged["y"].tolist()]
    return Case(graph, feeds(graph, images(pixels, 1)), images(judged["x"], 1), labels, True)


def flowers(data: Path) -> Case:
    graph = import_model(read_model(data / "classify/mobilenet_v2_0.35_128_flowers.onnx"))
    photos = images(np.stack(crops(data / "detect/images", 128, each=8)), 127.5, -1.0)
    half = len(photos) // 2
    model = OrtModel(serialize(graph))
    answers = [best(model.run(one)[graph.outputs[0]]) for one in feeds(graph, photos[half:])]
    return Case(graph, feeds(graph, photos[:half]), photos[half:], answers, False)


def kws(data: Path) -> Case:
    graph = import_model(read_model(data / "mlperf_tiny/models_onnx/kws_dscnn_float.onnx"))
    found = loaded(data / "mlperf_tiny/eval/kws01_mfcc_a.npz")
    numbers = (found["x"].astype(np.float32) - 83) * np.float32(0.5847029)
    inputs = [np.ascontiguousarray(one[None, None]) for one in numbers]
    labels = [int(label) for label in found["y"].tolist()]
    half = len(inputs) // 2
    return Case(graph, feeds(graph, inputs[:half]), inputs[half:], labels[half:], True)


CASES: dict[str, Callable[[Path], Case]] = {
    "vww": vww,
    "resnet8": resnet8,
    "flowers": flowers,
    "kws": kws,
}


def best(output: Array) -> int:
    return int(np.argmax(output.astype(np.float64)))


def write(case: Case, graph: Graph, folder: Path, name: str) -> tuple[Path, Path]:
    """Write the float and the int8 TFLite file of ``graph``."""
    ranges = calibrate(graph, lambda: case.samples[:CALIBRATION], "mse").ranges
    plan = plan_quantization(graph, ranges)
    files = folder / f"{name}.float.tflite", folder / f"{name}.int8.tflite"
    files[0].write_bytes(lower_to_tflite(graph).data)
    files[1].write_bytes(lower_to_tflite(graph, plan).data)
    return files


def right(case: Case, file: Path) -> float:
    """Return the share of right answers of a TFLite file."""
    model = open_model(file, "tflite")
    try:
        answers = [best(model.run([tiled(value)])[0]) for value in case.judged]
    finally:
        model.close()
    return float(np.mean(np.equal(answers, case.answers)))


def tiled(value: Array) -> Array:
    return np.ascontiguousarray(value.transpose(0, 2, 3, 1))


def measure(name: str, case: Case, folder: Path) -> list[str]:
    """Return one row per ratio; ratios that remove the same are measured once."""
    pruner = Pruner(case.graph, case.samples)
    cuts: dict[float, Pruned | None] = {0.0: None}
    for ratio in pruner.distinct(RATIOS):
        try:
            cuts[ratio] = pruner.cut(ratio)
        except ConversionError as error:
            print(f"{name} {ratio:.0%}: {error}", file=sys.stderr)
    graphs = {ratio: cut.graph if cut else case.graph for ratio, cut in cuts.items()}
    files = {ratio: write(case, graph, folder, f"{ratio}") for ratio, graph in graphs.items()}
    times = side_by_side(
        {f"{ratio}{kind}": (file, "tflite") for ratio, two in files.items()
         for kind, file in zip(("float", "int8"), two, strict=True)}
    )  # fmt: skip
    rows = []
    for ratio, graph in graphs.items():
        cut, (plain, small) = cuts[ratio], files[ratio]
        macs = sum(multiply_accumulates(graph, node) for node in graph.nodes)
        cells = [
            f"{name}{'' if case.labelled else ' (agreement)'}",
            f"{ratio:.0%}",
            f"{cut.removed if cut else 0.0:.0%}",
            f"{parameters(graph) / 1000:.0f} k",
            f"{macs / 1e6:.2f} M",
            f"{plain.stat().st_size / 1000:.0f} / {small.stat().st_size / 1000:.0f} kB",
            f"{100 * right(case, plain):.1f} / {100 * right(case, small):.1f} %",
            f"{times[f'{ratio}float']:.3f} / {times[f'{ratio}int8']:.3f} ms",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


HEAD = (
    "| model | asked | gone | parameters | MACs | size float / int8 | top-1 float / int8 "
    "| latency float / int8 |\n|---|---|---|---|---|---|---|---|"
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure pruning on public models.")
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; none means all")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    words = parser.parse_args()
    names = cast("list[str]", words.cases) or list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    data = Path(os.environ.get("EDGEOPS_DATA", default))
    if not data.is_dir():
        print("no folder of real models and data: set EDGEOPS_DATA", file=sys.stderr)
        return 2
    print(describe())
    print(HEAD, flush=True)
    rows: list[str] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(name, CASES[name](data), Path(folder))
        print("\n".join(found), flush=True)
        rows += found
    if words.out is not None:
        words.out.write_text("\n".join([describe(), "", HEAD, *rows, ""]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
