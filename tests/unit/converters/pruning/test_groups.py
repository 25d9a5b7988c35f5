"""Channels are followed through real wirings: what is cut computes what the zeroed net does."""

import pytest

from converters.graph import Graph
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.pruning.groups import find_groups
from converters.pruning.shrink import parameters, shrink
from tests.unit.converters.pruning.nets import (
    NetBuilder,
    assert_same_function,
    every_other,
    masked,
)
from tests.unit.converters.pruning.zoo import NETS, depthwise, gate, residual, split


@pytest.mark.parametrize("name", NETS)
def test_what_is_cut_computes_what_the_zeroed_original_does(name: str) -> None:
    graph = NETS[name]()
    channels = find_groups(graph)
    removed = every_other(channels)

    smaller = shrink(graph, channels, removed)

    assert removed
    assert parameters(smaller) < parameters(graph)
    assert smaller.inputs == graph.inputs
    assert smaller.outputs == graph.outputs
    assert_same_function(graph, smaller, masked(graph, channels, removed))


def sizes(graph: Graph) -> list[int]:
    return sorted(len(group.channels) for group in find_groups(graph).groups)


def test_a_residual_sum_ties_its_branches() -> None:
    assert sizes(residual()) == [6, 8]


def test_a_depthwise_layer_shares_the_channels_of_its_input() -> None:
    assert sizes(depthwise()) == [5, 6]


def test_a_gate_shares_the_channels_of_what_it_scales() -> None:
    assert sizes(gate()) == [4, 8]


def test_parts_of_a_split_are_groups_of_their_own() -> None:
    assert sizes(split()) == [4, 6]


def test_inputs_outputs_and_unknown_operators_keep_their_channels() -> None:
    b = NetBuilder(1, 4, 8, 8)
    shown = b.add("Conv", f"x {b.random(6, 4, 1, 1)} {b.random(6)}", "y", kernel_shape=[1, 1])
    b.add("DepthToSpace", b.conv(shown, 6, 8), "z", blocksize=2)
    graph = b.graph({"y": [1, 6, 8, 8], "z": [1, 2, 16, 16]})

    assert find_groups(graph).groups == ()


def test_channels_summed_over_by_a_softmax_stay() -> None:
    b = NetBuilder(1, 3, 4, 4)
    b.conv(b.add("Softmax", b.conv("x", 3, 8), axis=1), 8, 2)
    graph = b.graph({"t2": [1, 2, 4, 4]})

    assert find_groups(graph).groups == ()


def test_weights_that_two_layers_read_differently_stay() -> None:
    b = NetBuilder(1, 4)
    square = b.random(4, 4)
    first = b.add("MatMul", f"x {square}")
    b.add("MatMul", f"{b.add('Relu', first)} {square}", "y")
    graph = b.graph({"y": [1, 4]})
    channels = find_groups(graph)

    smaller = shrink(graph, channels, every_other(channels))

    OrtModel(serialize(smaller))
    assert_same_function(graph, smaller, masked(graph, channels, every_other(channels)))
