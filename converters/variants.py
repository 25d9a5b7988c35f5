"""Make one model file of the graph: runtime and precision decide how."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from converters.graph import Graph
from converters.onnx_format import serialize
from converters.quant.operators import multiply_accumulates
from converters.quant.plan import QuantPlan
from converters.quant.write_onnx import ActivationType, write_onnx_int8
from converters.quant.write_weights import write_onnx_dynamic, write_onnx_float16
from converters.recipe import Output, TensorEdge
from converters.target_check import check_opset, check_tflite
from converters.targets import Target
from edgeops.contracts.manifest import TensorSpec
from edgeops.contracts.scalars import Layout
from edgeops.durable import write_atomic
from edgeops.errors import ConversionError, UnsupportedModelError
from edgeops.inference.runtimes.loading import open_model

LEAST_SHARE: Final = 0.01
MOST_SIZE: Final = 0.95
"""A dynamic file gains by its share of integer work, or by its size against float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFile:
    """A model file on disk, as its runtime sees it.

    Attributes:
        file: Path inside the bundle.
        opset: ONNX operator set; 0 for TFLite.
        quantized_macs: Share of multiply-accumulates with int8 weights, 0-1.
        float_islands: Names of the nodes that stay float in an int8 file.
    """

    output: Output
    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    quantized_macs: float = 0.0
    float_islands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Written:
    data: bytes
    layouts: dict[str, Layout]
    quantized_macs: float = 0.0
    float_islands: tuple[str, ...] = ()


def file_name(output: Output) -> str:
    """Return where a variant stands inside its bundle."""
    return f"models/{output.precision}.{output.runtime}"


def write_variant(
    folder: Path,
    graph: Graph,
    output: Output,
    *,
    plan: QuantPlan | None,
    layout: Layout,
    activations: ActivationType = "uint8",
    target: Target | None = None,
) -> VariantFile:
    """Write one variant into ``folder`` and load it once in its runtime.

    Args:
        folder: The bundle in the making.
        graph: The normalised float graph.
        output: Runtime and precision.
        plan: For int8.
        layout: Of the graph's image inputs.
        activations: Integer type of activations in ONNX int8 files; the target's, if given.
        target: What the file is for; it is held against that.

    Raises:
        ForeignOperatorsError: The target does not know an operator of the TFLite file.
        UnsupportedModelError: The model has no form for this runtime and precision.
        ConversionError: Nothing would be gained, or the file does not load.
    """
    target = target or Target(activations=activations)
    if output.runtime == "onnx":
        check_opset(graph.opset, target)
        written = _onnx(graph, output, plan, layout, target.activations)
    else:
        written = _tflite(graph, output, plan, layout, target.io)
        check_tflite(written.data, target)
    name = file_name(output)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, written.data)
    model = open_model(path, output.runtime)
    try:
        inputs = tuple(
            replace(spec, layout=written.layouts.get(spec.name, "none")) for spec in model.inputs
        )
        outputs = model.outputs
    finally:
        model.close()
    return VariantFile(
        output=output,
        file=name,
        inputs=inputs,
        outputs=outputs,
        opset=graph.opset if output.runtime == "onnx" else 0,
        quantized_macs=round(written.quantized_macs, 6),
        float_islands=written.float_islands,
    )


def _onnx(
    graph: Graph,
    output: Output,
    plan: QuantPlan | None,
    layout: Layout,
    activations: ActivationType,
) -> _Written:
    layouts = dict.fromkeys(graph.inputs, layout)
    match output.precision:
        case "float32":
            return _Written(serialize(graph), layouts)
        case "float16":
            return _Written(write_onnx_float16(graph), layouts)
        case "dynamic-int8":
            data, layers = write_onnx_dynamic(graph)
            share = _mac_share(graph, layers)
            _require_gain(share, len(data), len(serialize(graph)))
            return _Written(data, layouts, share)
        case "int8" if plan is not None:
            data = write_onnx_int8(graph, plan, activations=activations)
            return _Written(data, layouts, plan.quantized_macs, tuple(plan.islands))
    raise _no_form(output)


def _tflite(
    graph: Graph, output: Output, plan: QuantPlan | None, layout: Layout, io: TensorEdge
) -> _Written:
    from converters.tflite.catalog import lower_to_tflite  # noqa: PLC0415 - ONNX alone needs no TFLite

    match output.precision:
        case "float32" | "float16" | "dynamic-int8":
            model = lower_to_tflite(graph, weights=output.precision, image_layout=layout)
            share = _mac_share(graph, model.hybrid_layers)
            if output.precision == "dynamic-int8":
                _require_gain(share, len(model.data), len(serialize(graph)))
            return _Written(model.data, dict(model.input_layouts), share)
        case "int8" | "int16x8" if plan is not None:
            # Edges of 8 bits before activations of 16 would throw away what the latter are for.
            edge = io if plan.activations == "int8" else "float32"
            model = lower_to_tflite(graph, plan, image_layout=layout, io=edge)
            islands = tuple(plan.islands)
            return _Written(model.data, dict(model.input_layouts), plan.quantized_macs, islands)
    raise _no_form(output)


def _require_gain(share: float, size: int, float_size: int) -> None:
    """Refuse a dynamic file that is int8 in name only; raises ``ConversionError``."""
    if share < LEAST_SHARE and size > MOST_SIZE * float_size:
        raise ConversionError(
            f"dynamic-int8 would change next to nothing: {share:.1%} of the multiply-accumulates, "
            f"{size} bytes instead of {float_size}"
        )


def _no_form(output: Output) -> UnsupportedModelError:
    return UnsupportedModelError(
        node="model",
        operator=output.runtime,
        reason=f"the precision {output.precision} is not written for {output.runtime}",
        suggestion="int8, dynamic-int8, float16 and float32 are; int16x8 for TFLite alone",
    )


def _mac_share(graph: Graph, layers: frozenset[str]) -> float:
    macs = {node.name: multiply_accumulates(graph, node) for node in graph.nodes}
    total = sum(macs.values())
    return sum(count for name, count in macs.items() if name in layers) / total if total else 0.0
