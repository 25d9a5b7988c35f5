"""An earlier release's grids are kept where they fit, so that updates become small."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converters.arrays import Array, Feeds, as_floats
from converters.exam import npz_bytes
from converters.graph import Graph
from converters.importing.importer import import_model
from converters.pipeline import Signer, convert
from converters.quant import previous_grids
from converters.quant.ladder import Rung
from converters.quant.observe import Histogram, Range
from converters.quant.plan import Grid, QuantPlan, asymmetric_grid
from converters.quant.rung_plans import RungPlans
from converters.quant.scale_reuse import count_kept, keep_ranges
from converters.quant.write_onnx import write_onnx_int8
from converters.recipe import load_recipe
from converters.tflite.catalog import lower_to_tflite
from edgeops.clock import SystemClock
from edgeops.errors import ConversionError, StorageError, TrustError
from edgeops.trust import SigningKey
from tests.unit.converters.nets import conv_net, feeds, floats
from tests.unit.converters.test_convert import RECIPE, colour_images, colour_model

SHAPE = (1, 3, 9, 9)


def samples(shift: float = 1.0) -> list[Feeds]:
    return [
        {"x": as_floats(as_floats(sample["x"]) * np.float32(shift))}
        for sample in feeds("x", *SHAPE, count=12)
    ]


def retrained(graph: Graph) -> Graph:
    """Return ``graph`` with every 50th weight a little other, and a last layer that moved."""
    constants: dict[str, Array] = dict(graph.constants)
    for number, node in enumerate(n for n in graph.nodes if n.op in {"Conv", "Gemm"}):
        weights = as_floats(constants[node.inputs[1]]).copy()
        weights.ravel()[::50] *= np.float32(1.02)
        if node.op == "Gemm":
            weights += floats(20 + number, *weights.shape, scale=0.01)
        constants[node.inputs[1]] = weights
    return replace(graph, constants=constants)


def planned(
    graph: Graph, data: list[Feeds], previous: dict[str, Grid] | None = None
) -> tuple[Graph, QuantPlan]:
    made = RungPlans(graph, lambda: data, previous=previous).plan(Rung("minmax"))
    return made.graph, made.plan


def delta_bytes(old: bytes, new: bytes) -> int:
    """Return what sending ``new`` to someone who has ``old`` costs, roughly."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, old[-32768:])
    return len(packer.compress(new) + packer.flush())


def test_slightly_retrained_model_gives_a_smaller_delta_on_the_old_grids() -> None:
    first = import_model(conv_net(channels=32))
    second = retrained(first)
    graph, plan = planned(first, samples())
    released = write_onnx_int8(graph, plan)

    fresh = write_onnx_int8(*planned(second, samples(1.01)))
    kept = write_onnx_int8(*planned(second, samples(1.01), dict(plan.tensors)))

    assert delta_bytes(released, kept) < 0.7 * delta_bytes(released, fresh)


def test_same_model_on_its_own_grids_gives_the_same_bytes() -> None:
    graph, plan = planned(import_model(conv_net()), samples())

    again = planned(graph, samples(), dict(plan.tensors))[1]

    assert write_onnx_int8(graph, again) == write_onnx_int8(graph, plan)
    reuse = count_kept(again, plan.tensors)
    assert reuse.kept == reuse.total > 5
    assert f"{reuse.kept} of {reuse.total}" in reuse.sentence


def test_range_is_kept_only_where_it_neither_clips_nor_wastes() -> None:
    histogram = Histogram(Range(0.0, 1.0))
    histogram.add(np.linspace(0, 1, 10_000))

    def kept(old: Range) -> bool:
        previous = {"t": asymmetric_grid(old.low, old.high)}
        found = keep_ranges({"t": Range(0.0, 1.0)}, previous, {"t": histogram})
        return asymmetric_grid(found["t"].low, found["t"].high) == previous["t"]

    assert kept(Range(0.0, 1.0))
    assert kept(Range(0.0, 1.4))
    assert not kept(Range(0.0, 1.6)), "coarser than 1.5 times"
    assert not kept(Range(0.0, 0.9)), "a tenth would be clipped"
    assert not kept(Range(-1.0, 1.0)), "half of the grid would be unused"


@pytest.mark.parametrize("runtime", ["onnx", "tflite"])
def test_grids_read_back_from_a_file_are_those_of_its_plan(runtime: str, tmp_path: Path) -> None:
    graph, plan = planned(import_model(conv_net()), samples())
    path = tmp_path / f"int8.{runtime}"
    if runtime == "onnx":
        path.write_bytes(write_onnx_int8(graph, plan))
    else:
        path.write_bytes(lower_to_tflite(graph, plan, image_layout="nchw").data)

    found = previous_grids.read_file(path, "onnx" if runtime == "onnx" else "tflite")

    # Where nothing but the shape changes, a TFLite file needs one tensor for two names.
    own = {n: g for n, g in plan.tensors.items() if g.dtype == "int8" and n not in {"p", "f"}}
    for name, grid in own.items():
        assert (found[name].scale, found[name].zero_point) == (grid.scale, grid.zero_point)
    again = planned(graph, samples(), dict(found))[1]
    assert write_onnx_int8(graph, again) == write_onnx_int8(graph, plan)


def release(folder: Path, extra: str = "") -> Path:
    """Convert the colour model into a bundle and return its folder."""
    (folder / "recipe.yaml").write_text(RECIPE + extra)
    (folder / "colours.onnx").write_bytes(colour_model())
    (folder / "calibration.npz").write_bytes(npz_bytes(colour_images(1, 30)))
    (folder / "evaluation.npz").write_bytes(npz_bytes(colour_images(2, 60)))
    signer = Signer(key=SigningKey.generate(), development=True)
    loaded = load_recipe(folder / "recipe.yaml", {})
    said: list[str] = []
    done = convert(loaded, folder / "out", signer=signer, clock=SystemClock(), say=said.append)
    assert done.bundle is not None
    assert any("earlier release" in line for line in said) == ("scales_from" in extra)
    return done.bundle


def test_release_that_names_an_earlier_one_keeps_its_grids(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    earlier = release(first)

    later = release(second, f"scales_from: {earlier}\n")

    assert previous_grids.read_grids(later) == previous_grids.read_grids(earlier)
    for name in ("models/int8.tflite", "models/int8.onnx"):
        assert (later / name).read_bytes() == (earlier / name).read_bytes()


def test_earlier_release_must_be_whole_and_hold_int8(tmp_path: Path) -> None:
    bundle = release(tmp_path)
    file = bundle / "models/int8.onnx"
    data = file.read_bytes()

    file.write_bytes(data[:-1] + b"?")
    with pytest.raises(TrustError, match="not the file of its manifest"):
        previous_grids.read_grids(bundle)
    file.unlink()
    with pytest.raises(StorageError, match="is missing"):
        previous_grids.read_grids(bundle)
    with pytest.raises(StorageError):
        previous_grids.read_grids(tmp_path / "nothing")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(data[: len(data) // 2])
    with pytest.raises(ConversionError):
        previous_grids.read_file(damaged, "onnx")
