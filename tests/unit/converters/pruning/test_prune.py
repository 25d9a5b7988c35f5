"""Pruning as a whole: round numbers, budgets, repair, and what it refuses."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from converters.arrays import Feeds, as_floats
from converters.graph import Graph
from converters.onnx_format import serialize
from converters.pruning.prune import Pruner, prune
from converters.pruning.search import search
from converters.pruning.shrink import parameters
from converters.pruning.sparsity import sparsify
from edgeops.errors import ConversionError, UsageError
from tests.unit.converters.nets import feeds
from tests.unit.converters.pruning.nets import NetBuilder, answer


def chain(*, width: int = 24, dead: int = 0, kernel: int = 3) -> Graph:
    """Return stem, depthwise and pointwise layers, residual, dense; ``dead`` channels are zero."""
    b = NetBuilder(1, 3, 8, 8)
    stem = b.add("Relu", b.conv("x", 3, width, kernel=kernel))
    deep = b.add("Relu", b.conv(stem, width, width, group=width))
    point = b.conv(deep, width, width, kernel=1)
    body = b.add("Relu", b.add("Add", f"{stem} {point}"))
    flat = b.add("Flatten", b.add("GlobalAveragePool", body), axis=1)
    hidden = b.add("Relu", b.dense(flat, width, 16))
    b.dense(hidden, 16, 3, "y")
    graph = b.graph({"y": [1, 3]})
    layers = {name for node in graph.nodes if node.op == "Conv" for name in node.inputs[1:]}
    alive = np.arange(width) >= dead
    constants = {
        name: value * alive.reshape(-1, *[1] * (value.ndim - 1)) if name in layers else value
        for name, value in ((n, as_floats(v)) for n, v in graph.constants.items())
    }
    return replace(graph, constants=constants)


def noise(reference: Graph, graph: Graph, samples: Sequence[Feeds]) -> float:
    """Return squared error over energy of the one output ``y``."""
    (name,) = graph.outputs
    wanted = np.concatenate([as_floats(answer(reference, sample)[name]) for sample in samples])
    found = np.concatenate([as_floats(answer(graph, sample)[name]) for sample in samples])
    return float(((wanted - found) ** 2).sum() / (wanted**2).sum())


SAMPLES = feeds("x", 1, 3, 8, 8, count=60)
UNSEEN = feeds("x", 1, 3, 8, 8, count=80)[60:]


def test_layers_keep_round_numbers_of_channels() -> None:
    pruned = prune(chain(), SAMPLES[:8], 0.3)

    widths = {layer.node: layer.outputs for layer in pruned.layers}
    assert pruned.removed == pytest.approx(0.3, abs=0.15)
    assert all(after % 8 == 0 for _, after in widths.values() if after > 3)
    assert pruned.channels[1] < pruned.channels[0]
    assert pruned.parameters[1] < pruned.parameters[0]
    assert pruned.macs[1] < pruned.macs[0]


def test_no_group_loses_more_than_half() -> None:
    pruned = prune(chain(), SAMPLES[:8], 0.99, multiple=1)

    convolutions = [layer.outputs for layer in pruned.layers if layer.operator == "Conv"]
    assert convolutions  # dense channels behind a Relu may be dead, which is another matter
    assert all(2 * after >= before for before, after in convolutions)


def test_dead_channels_go_first_and_cost_nothing() -> None:
    graph = chain(width=32, dead=24)

    pruned = prune(graph, SAMPLES[:8], 0.5)

    assert max(layer.outputs[1] for layer in pruned.layers if layer.operator == "Conv") == 8
    assert noise(graph, pruned.graph, UNSEEN) < 1e-9


def test_repair_brings_the_answers_closer_on_samples_it_has_not_seen() -> None:
    pruner = Pruner(chain(), SAMPLES, multiple=4)

    cut, repaired = pruner.cut(0.3, repaired=False), pruner.cut(0.3)

    before = noise(chain(), cut.graph, UNSEEN)
    assert noise(chain(), repaired.graph, UNSEEN) < 0.5 * before
    assert all(
        layer.error_repaired <= layer.error_cut
        for layer in repaired.layers
        if layer.error_cut is not None and layer.error_repaired is not None
    )


@pytest.mark.parametrize("other", ["Sub", "MatMul"])
def test_a_refit_leaves_alone_what_else_uses_the_constant(other: str) -> None:
    b = NetBuilder(1, 16)
    shared = b.random(24, 24) if other == "MatMul" else b.random(24)
    hidden = b.add("Relu", b.add("Gemm", f"x {b.random(16, 24)} {b.random(24)}"))
    if other == "MatMul":
        middle = b.add("Tanh", b.add("MatMul", f"{hidden} {shared}"))
    else:
        middle = b.add("Tanh", b.add("Gemm", f"{hidden} {b.random(24, 24)} {shared}"))
    b.dense(b.add("Relu", b.add(other, f"{middle} {shared}")), 24, 3, "y")
    graph = b.graph({"y": [1, 3]})
    uses = [name for node in graph.nodes for name in node.inputs if name in graph.constants]
    samples = feeds("x", 1, 16, count=60)

    pruned = prune(graph, samples, 0.2, multiple=4)

    assert len(uses) == len(set(uses))
    assert all(
        layer.error_repaired is None or layer.error_repaired < 0.2 for layer in pruned.layers
    )


def test_pruning_repeats_byte_for_byte() -> None:
    first, second = (prune(chain(), SAMPLES[:16], 0.3) for _ in range(2))

    assert serialize(first.graph) == serialize(second.graph)


def test_a_layer_without_bias_and_a_transposed_convolution_are_repaired_too() -> None:
    b = NetBuilder(1, 6, 12)
    hidden = b.add("Relu", b.add("MatMul", f"x {b.random(12, 16)}"))
    turned = b.add("Transpose", b.add("MatMul", f"{hidden} {b.random(16, 8)}"), perm=[0, 2, 1])
    weights, bias = b.random(8, 4, 2), b.random(4)
    b.add("ConvTranspose", f"{turned} {weights} {bias}", "y", kernel_shape=[2], strides=[2])
    graph = b.graph({"y": [1, 4, 12]})
    samples = feeds("x", 1, 6, 12, count=40)
    pruner = Pruner(graph, samples, multiple=2)

    cut, repaired = pruner.cut(0.4, repaired=False), pruner.cut(0.4)

    assert noise(graph, repaired.graph, samples) < noise(graph, cut.graph, samples)


def test_the_search_reports_the_largest_cut_within_the_budget() -> None:
    graph = chain(width=32)
    seen: list[float] = []

    def judge(smaller: Graph) -> float:
        seen.append(noise(graph, smaller, UNSEEN))
        return seen[-1]

    found = search(graph, SAMPLES[:30], judge, 1e-4, multiple=4)

    passed = [trial for trial in found.tried if trial.passed]
    assert found.best is not None
    assert found.best.removed == max(trial.removed for trial in passed)
    assert noise(graph, found.best.graph, UNSEEN) <= 1e-4
    assert len(seen) == len(found.tried)
    assert any(not trial.passed for trial in found.tried)


def test_the_search_does_not_trust_the_drop_to_rise_evenly() -> None:
    graph = chain(width=32)
    pruner = Pruner(graph, SAMPLES[:8], multiple=4)
    ratios = pruner.distinct([step / 20 for step in range(1, 20)])
    odd = pruner.cut(ratios[(len(ratios) - 1) // 2]).parameters[1]

    def judge(smaller: Graph) -> float:
        """Only the cut that halving tries first is bad."""
        return 1.0 if parameters(smaller) == odd else 0.0

    found = search(graph, SAMPLES[:8], judge, 0.5, multiple=4)

    assert found.best is not None
    assert found.best.ratio == ratios[-1]
    assert [trial.ratio for trial in found.tried] == sorted(trial.ratio for trial in found.tried)


def test_a_search_without_success_says_so() -> None:
    found = search(chain(), SAMPLES[:8], lambda _: 1.0, 0.01)

    assert found.best is None
    assert found.tried
    assert not any(trial.passed for trial in found.tried)


def test_a_net_without_channels_to_spare_is_refused_in_one_sentence() -> None:
    b = NetBuilder(1, 4)
    b.dense("x", 4, 3, "y")
    graph = b.graph({"y": [1, 3]})

    with pytest.raises(ConversionError, match="there is nothing to prune"):
        prune(graph, feeds("x", 1, 4), 0.2)


def test_a_ratio_too_small_for_a_block_is_refused() -> None:
    with pytest.raises(ConversionError, match="removes nothing"):
        prune(chain(), SAMPLES[:4], 0.01)


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.2, float("nan")])
def test_a_ratio_that_is_none_is_refused(ratio: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        prune(chain(), SAMPLES[:4], ratio)


def test_pruning_without_samples_is_refused() -> None:
    with pytest.raises(ConversionError, match="needs samples"):
        prune(chain(), [], 0.2)


def test_too_few_samples_to_judge_a_refit_are_refused() -> None:
    with pytest.raises(ConversionError, match="at least 4 samples"):
        prune(chain(), SAMPLES[:3], 0.3)


def dense() -> Graph:
    b = NetBuilder(1, 16)
    hidden = b.add("Relu", b.dense("x", 16, 32))
    b.dense(b.add("Relu", b.dense(hidden, 32, 24)), 24, 4, "y")
    return b.graph({"y": [1, 4]})


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_samples_that_are_all_alike_do_not_make_channels_dead(value: float) -> None:
    alike: list[Feeds] = [{"x": np.full((1, 16), value, np.float32)}] * 20

    pruned = prune(dense(), alike, 0.99, multiple=4)

    assert pruned.removed <= 0.5


def by_a_stack(b: NetBuilder, source: str) -> str:
    return b.add("MatMul", f"{source} {b.random(1, 24, 8)}", "y")


def by_a_vector(b: NetBuilder, source: str) -> str:
    return b.add("MatMul", f"{source} {b.random(24)}", "y")


@pytest.mark.parametrize(("product", "shape"), [(by_a_stack, [1, 6, 8]), (by_a_vector, [1, 6])])
def test_a_product_behind_a_cut_that_is_no_layer_stays_as_it_is(
    product: Callable[[NetBuilder, str], str], shape: list[int]
) -> None:
    b = NetBuilder(1, 6, 12)
    hidden = b.add("Relu", b.add("MatMul", f"x {b.random(12, 32)}"))
    product(b, b.add("Relu", b.add("MatMul", f"{hidden} {b.random(32, 24)}")))
    graph = b.graph({"y": shape})
    samples = feeds("x", 1, 6, 12, count=40)
    pruner = Pruner(graph, samples, multiple=4)

    cut, repaired = pruner.cut(0.3, repaired=False), pruner.cut(0.3)

    assert noise(graph, repaired.graph, samples) < noise(graph, cut.graph, samples)


def test_samples_that_overflow_are_refused() -> None:
    hot: Feeds = {"x": np.full((1, 3, 8, 8), 3e38, np.float32)}

    with pytest.raises(ConversionError, match="infinite"):
        prune(chain(), [hot], 0.3)


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(UsageError, match="0 or more"):
        search(chain(), SAMPLES[:4], lambda _: 0.0, -0.1)


def test_scattered_zeros_shrink_the_download_and_say_what_they_do_not_do() -> None:
    graph = chain(width=32)

    sparse = sparsify(graph, 0.5)

    assert sparse is not None
    assert sparse.saved >= 0.2
    assert sparse.zeros == pytest.approx(0.5, abs=0.02)
    assert "neither faster" in sparse.sentence
    kept = [np.count_nonzero(as_floats(value)) for value in sparse.graph.constants.values()]
    assert sum(kept) < sum(value.size for value in graph.constants.values())


def test_zeros_that_do_not_help_are_not_offered() -> None:
    assert sparsify(chain(width=32), 0.01) is None
