"""A pruned net is an ordinary net: it lowers to TFLite like any other."""

import numpy as np
import pytest

from converters.arrays import Feeds, as_floats
from converters.pruning.groups import find_groups
from converters.pruning.shrink import shrink
from converters.tflite.catalog import lower_to_tflite
from tests.unit.converters.nets import floats
from tests.unit.converters.pruning.nets import answer, every_other
from tests.unit.converters.pruning.zoo import NETS
from tests.unit.converters.tflite_runner import TfliteRunner


@pytest.mark.parametrize("name", ["residual", "depthwise", "concat", "gate", "flatten", "split"])
def test_what_is_cut_lowers_to_tflite(name: str) -> None:
    graph = NETS[name]()
    channels = find_groups(graph)
    smaller = shrink(graph, channels, every_other(channels))
    (source,) = graph.inputs
    feeds: Feeds = {source: floats(5, *graph.shape(source))}
    wanted = answer(smaller, feeds)["y"]

    found = TfliteRunner(lower_to_tflite(smaller)).run(feeds)

    np.testing.assert_allclose(as_floats(found["y"]), as_floats(wanted), rtol=1e-4, atol=1e-4)
