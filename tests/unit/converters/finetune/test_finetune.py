"""A cut model learns from its original, where PyTorch is installed."""

import importlib.util
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest

from converters.arrays import Feeds, as_floats
from converters.finetune import FinetuneOptions, finetune
from converters.graph import Graph
from converters.onnx_format import serialize
from converters.pruning.prune import Pruner
from edgeops.errors import ConversionError, MissingExtraError, UnsupportedModelError, UsageError
from tests.unit.converters.nets import feeds, floats
from tests.unit.converters.pruning.nets import NetBuilder, answer
from tests.unit.converters.pruning.zoo import NETS

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is an extra of its own"
)
OPTIONS = FinetuneOptions(epochs=4, learning_rate=5e-3, batch=8, seed=1)
REFUSED = {"parametric": "InstanceNormalization", "resized_channels": "Resize"}
"""Wirings with a node that is not trained through -> its operator."""


def net() -> Graph:
    b = NetBuilder(1, 3, 8, 8)
    body = b.add("Relu", b.conv("x", 3, 16))
    body = b.add("Relu", b.conv(body, 16, 16, stride=2))
    flat = b.add("Flatten", b.add("GlobalAveragePool", body), axis=1)
    small = b.add(
        "Mul", f"{flat} {b.constant(np.asarray(0.05, np.float32))}"
    )  # else one class wins
    b.add("Softmax", b.dense(small, 16, 4), "y", axis=1)
    return b.graph({"y": [1, 4]})


SAMPLES = feeds("x", 1, 3, 8, 8, count=64)
UNSEEN = feeds("x", 1, 3, 8, 8, count=84)[64:]


def cut() -> Graph:
    return Pruner(net(), SAMPLES[:16], multiple=4).cut(0.5, repaired=False).graph


def distance(graph: Graph) -> float:
    return float(
        sum(
            np.abs(as_floats(answer(graph, x)["y"]) - as_floats(answer(net(), x)["y"])).sum()
            for x in UNSEEN
        )
    )


@needs_torch
def test_training_brings_the_cut_model_closer_on_samples_it_has_not_seen() -> None:
    said: list[str] = []

    learned = finetune(cut(), net(), lambda: SAMPLES, OPTIONS, said.append)

    assert distance(learned) < 0.8 * distance(cut())
    assert len(said) == OPTIONS.epochs
    assert [learned.shape(name) for name in learned.constants] == [
        cut().shape(name) for name in learned.constants
    ]


@needs_torch
def test_training_repeats_byte_for_byte() -> None:
    first, second = (
        finetune(cut(), net(), lambda: SAMPLES, OPTIONS, lambda _: None) for _ in range(2)
    )

    assert serialize(first) == serialize(second)


@needs_torch
def test_samples_may_share_one_buffer() -> None:
    def reused() -> Iterator[Feeds]:
        buffer: Feeds = {"x": np.empty((1, 3, 8, 8), np.float32)}
        for sample in SAMPLES:
            buffer["x"][:] = sample["x"]
            yield buffer

    sources: tuple[Callable[[], Iterable[Feeds]], ...] = (reused, lambda: SAMPLES)
    first, second = (
        finetune(cut(), net(), samples, OPTIONS, lambda _: None) for samples in sources
    )

    assert serialize(first) == serialize(second)


@needs_torch
def test_training_that_feels_int8_learns_too() -> None:
    options = FinetuneOptions(epochs=4, learning_rate=5e-3, batch=8, quantized=True)

    learned = finetune(cut(), net(), lambda: SAMPLES, options, lambda _: None)

    assert distance(learned) < distance(cut())


@needs_torch
def test_a_model_that_cannot_come_closer_stays_as_it_is() -> None:
    learned = finetune(net(), net(), lambda: SAMPLES, OPTIONS, lambda _: None)

    assert serialize(learned) == serialize(net())


@needs_torch
@pytest.mark.parametrize("name", NETS)
def test_pytorch_computes_what_onnx_runtime_does(name: str) -> None:
    """Or names the node that it does not: only two wirings hold such a node."""
    graph = NETS[name]()
    (source,) = graph.inputs
    samples: list[Feeds] = [{source: floats(i, *graph.shape(source))} for i in range(20)]
    options = FinetuneOptions(epochs=1, learning_rate=1e-6)

    def run() -> Graph:
        return finetune(graph, graph, lambda: samples, options, lambda _: None)

    if name in REFUSED:
        with pytest.raises(UnsupportedModelError, match=REFUSED[name]):
            run()
    else:
        assert run().outputs == graph.outputs


def activation(op: str, **attributes: float | list[int]) -> Callable[[], Graph]:
    def build() -> Graph:
        b = NetBuilder(1, 3, 6, 6)
        body = b.add(op, b.conv("x", 3, 4), "", **attributes)
        b.add("Conv", f"{body} {b.random(2, 4, 1, 1)} {b.random(2)}", "y", kernel_shape=[1, 1])
        return b.graph({"y": [1, 2, "h", "w"]})

    return build


@needs_torch
@pytest.mark.parametrize(
    "build",
    [
        activation("LeakyRelu", alpha=0.3),
        activation("HardSigmoid", alpha=0.3, beta=0.4),
        activation("HardSwish"),
        activation("Elu", alpha=0.7),
        activation("Softplus"),
        activation("AveragePool", kernel_shape=[3, 3], pads=[1, 0, 0, 1], strides=[2, 1]),
        activation("MaxPool", kernel_shape=[3, 3], pads=[0, 1, 1, 0], strides=[2, 2]),
        activation("ReduceMean", axes=[2, 3], keepdims=1),
        activation("Softmax", axis=1),
    ],
)
def test_attributes_mean_what_they_mean_in_onnx(build: Callable[[], Graph]) -> None:
    graph = build()
    samples = feeds("x", 1, 3, 6, 6, count=20)
    options = FinetuneOptions(epochs=1, learning_rate=1e-6)

    learned = finetune(graph, graph, lambda: samples, options, lambda _: None)

    assert learned.types == graph.types


@needs_torch
def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ConversionError, match="at least 16 samples, found 3"):
        finetune(cut(), net(), lambda: SAMPLES[:3], OPTIONS, lambda _: None)


@needs_torch
def test_a_rate_that_diverges_ends_in_one_sentence() -> None:
    wild = FinetuneOptions(epochs=6, learning_rate=1e30)

    with pytest.raises(ConversionError, match="lower the learning rate"):
        finetune(cut(), net(), lambda: SAMPLES, wild, lambda _: None)


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is here")
def test_without_pytorch_the_extra_is_named() -> None:
    with pytest.raises(MissingExtraError, match="torch"):
        finetune(net(), net(), lambda: SAMPLES, OPTIONS, lambda _: None)


@pytest.mark.parametrize(
    ("epochs", "rate"), [(0, 1e-3), (1, 0.0), (1, -1.0), (1, float("nan")), (1, float("inf"))]
)
def test_options_out_of_range_are_refused(epochs: int, rate: float) -> None:
    with pytest.raises(UsageError):
        FinetuneOptions(epochs=epochs, learning_rate=rate)
