"""PyTorch: modules from factories and files, to the hub, TFLite and int8."""
# ruff: noqa: E402 - what follows the skips needs the libraries

import textwrap
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra pytorch")
pytest.importorskip("onnxscript", reason="needs the extra pytorch")

from converters.arrays import Feeds
from converters.calibration import calibrate
from converters.exporters.request import Request
from converters.exporters.torch_model import export_torch
from converters.importing.gate import compare
from converters.importing.importer import import_model
from converters.importing.origin import open_origin
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.quant.noise import relative_noise
from converters.quant.planner import plan_quantization
from converters.quant.write_onnx import write_onnx_int8
from converters.tflite.catalog import lower_to_tflite
from edgeops.errors import ConversionError, StorageError, UsageError
from tests.unit.converters.tflite_runner import TfliteRunner

# PyTorch's exporter warns of its own plans; none of it is for its user.
pytestmark = pytest.mark.filterwarnings("ignore")

NETS = """
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
            self.norm = nn.BatchNorm2d(channels)
            self.mix = nn.Conv2d(channels, channels, 1)

        def forward(self, x):
            return x + torch.relu(self.mix(nn.functional.relu6(self.norm(self.conv(x)))))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.block = Block(8)
            self.drop = nn.Dropout(0.5)
            self.head = nn.Linear(8, 4)

        def forward(self, image):
            x = self.block(torch.relu(self.stem(image)))
            x = self.drop(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))
            return torch.softmax(self.head(x), dim=1)

    class Two(nn.Module):
        def forward(self, left, right):
            return {"sum": left + right, "both": (left * right, torch.sigmoid(left))}

    class Branches(nn.Module):
        def forward(self, x):
            return x + 1 if x.sum() > 0 else x

    def make():
        return Net()

    def pair():
        return Net(), (torch.rand(5, 3, 16, 16),)

    def two():
        return Two()

    def branches():
        return Branches()

    def none():
        return {}
"""
SHAPE = (1, 3, 16, 16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nets_of_test.py").write_text(textwrap.dedent(NETS))
    return tmp_path


def request(folder: Path, spec: str, **shapes: tuple[int, ...]) -> Request:
    return Request(kind="pytorch", spec=spec, folder=str(folder), shapes=shapes)


def samples(count: int = 6) -> list[Feeds]:
    random = np.random.default_rng(0)
    return [{"image": random.normal(size=SHAPE).astype(np.float32)} for _ in range(count)]


def test_a_network_goes_the_whole_way_to_int8(folder: Path) -> None:
    origin = open_origin(
        "nets_of_test:make", folder, source_format="pytorch", shapes={"image": SHAPE}
    )
    graph = import_model(origin.onnx)
    model = OrtModel(serialize(graph))

    assert compare(origin.reference, model, samples()).relative < 1e-5
    assert "BatchNormalization" not in {node.op for node in graph.nodes}

    expected = [model.run(feeds) for feeds in samples()]
    plain = TfliteRunner(lower_to_tflite(graph))
    assert relative_noise(expected, [plain.run(feeds) for feeds in samples()]) < 1e-9
    plan = plan_quantization(graph, calibrate(graph, samples).ranges)
    small = TfliteRunner(lower_to_tflite(graph, plan))
    int8 = OrtModel(write_onnx_int8(graph, plan))
    for quantized in (small, int8):
        assert relative_noise(expected, [quantized.run(feeds) for feeds in samples()]) < 0.01


def test_the_same_factory_gives_the_same_bytes(folder: Path) -> None:
    files = {export_torch(request(folder, "nets_of_test:make", image=SHAPE)).onnx for _ in range(2)}

    assert len(files) == 1
    assert str(folder).encode() not in files.pop()


def test_example_inputs_give_the_shape_of_one_sample(folder: Path) -> None:
    exported = export_torch(request(folder, "nets_of_test:pair"))

    graph = import_model(exported.onnx)
    assert graph.shape("image") == SHAPE
    assert "batch 1" in exported.notes[0]


def test_nested_outputs_and_several_inputs_keep_their_order(folder: Path) -> None:
    exported = export_torch(request(folder, "nets_of_test:two", right=(1, 2), left=(1, 2)))
    feeds: Feeds = {
        "left": np.asarray([[1, 2]], np.float32),
        "right": np.asarray([[3, 5]], np.float32),
    }

    wanted = exported.run(feeds)
    found = OrtModel(exported.onnx).run(feeds)

    assert [value.tolist() for value in list(wanted.values())[:2]] == [[[4, 7]], [[3, 10]]]
    assert list(found) == list(wanted)
    assert all(found[name] == pytest.approx(value) for name, value in wanted.items())


def test_the_users_name_for_an_input_wins(folder: Path) -> None:
    exported = export_torch(request(folder, "nets_of_test:make", pixels=SHAPE))

    assert import_model(exported.onnx).inputs == ("pixels",)


def test_a_saved_program_and_a_pickled_module(folder: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())
    row = np.asarray([[0.5, -1, 2]], np.float32)
    with torch.inference_mode():
        wanted = module(torch.from_numpy(row)).numpy()
    torch.export.save(torch.export.export(module, (torch.zeros(1, 3),)), folder / "m.pt2")
    torch.save(module, folder / "m.pt")

    for exported in (
        export_torch(request(folder, "m.pt2")),
        export_torch(request(folder, "m.pt", x=(1, 3))),
    ):
        model = OrtModel(exported.onnx)
        (name,) = model.inputs
        (answer,) = model.run({name: row}).values()
        assert answer == pytest.approx(wanted, abs=1e-6)
        (answer,) = exported.run({name: row}).values()
        assert answer == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("spec", "shapes", "kind", "reason"),
    [
        ("nets_of_test:make", {}, UsageError, "does not know its input shape: .*image=1"),
        ("nets_of_test:make", {"a": SHAPE, "b": SHAPE}, UsageError, "2 shapes do not fit"),
        ("nets_of_test:none", {"x": (1, 2)}, UsageError, "made dict, expected a torch.nn.Module"),
        ("weights.pt", {"x": (1, 2)}, UsageError, "weights alone have no architecture"),
        ("gone.pt2", {}, StorageError, "no such file"),
        ("net.onnx", {}, UsageError, "expected .pt2"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    folder: Path, spec: str, shapes: dict[str, tuple[int, ...]], kind: type[Exception], reason: str
) -> None:
    torch.save({"weight": torch.zeros(2)}, folder / "weights.pt")
    (folder / "net.onnx").write_bytes(b"")

    with pytest.raises(kind, match=reason):
        export_torch(request(folder, spec, **shapes))


@pytest.mark.parametrize("name", ["m.pt2", "m.pt"])
def test_a_damaged_file_ends_in_one_sentence(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"PK\x03\x04 nothing")

    with pytest.raises(ConversionError, match="pytorch cannot load or export the model"):
        open_origin(name, folder, source_format="pytorch", shapes={})


def test_a_module_that_is_no_graph_ends_in_one_sentence(folder: Path) -> None:
    with pytest.raises(ConversionError, match="pytorch cannot load or export the model"):
        open_origin("nets_of_test:branches", folder, source_format="pytorch", shapes={"x": (1, 4)})
