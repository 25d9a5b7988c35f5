"""Why an output is not made: from an error to a refusal that lists every node in the way."""

from converters.graph import Graph
from converters.outcome import Refusal, RefusedNode, refused_nodes
from converters.recipe import Output
from converters.target_check import ForeignOperatorsError
from edgeops.errors import ConversionError, UnsupportedModelError


def refusal_of(graph: Graph, output: Output, error: ConversionError) -> Refusal:
    """Return the refusal of ``output`` for ``error``, which came up while it was made.

    Args:
        graph: The float graph that it was to be made from.
        output: Runtime and precision asked for.
        error: What went wrong.
    """
    nodes: tuple[RefusedNode, ...] = ()
    if isinstance(error, ForeignOperatorsError):
        nodes = refused_nodes(error.nodes)
    elif isinstance(error, UnsupportedModelError) and output.runtime == "tflite":
        nodes = _without_tflite(graph)
    return Refusal(
        runtime=output.runtime, precision=output.precision, reason=str(error), nodes=nodes
    )


def _without_tflite(graph: Graph) -> tuple[RefusedNode, ...]:
    """Return every node that has no TFLite form, not only the first."""
    from converters.tflite.catalog import unsupported  # noqa: PLC0415 - ONNX alone needs no TFLite

    return refused_nodes(unsupported(graph))
