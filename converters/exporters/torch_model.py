"""PyTorch models: exported by ``torch.onnx`` and run under ``torch.inference_mode``.

``torch`` ships types, but is no dependency of the checks: its objects stay inside here.
"""

import inspect
import warnings
from collections.abc import Mapping
from typing import Final

import numpy as np
import torch

from converters.arrays import Array
from converters.exporters.code import make
from converters.exporters.onnx_tidying import tidy
from converters.exporters.request import Exported, Request
from edgeops.errors import ConversionError, UsageError

OPSET: Final = 18
"""The oldest operator set that PyTorch's present exporter writes."""

PROGRAM_SUFFIX: Final = ".pt2"
MODULE_SUFFIXES: Final = frozenset({".pt", ".pth"})

_PAIR: Final = 2


def export_torch(request: Request) -> Exported:
    """Return the module that a factory makes, or that a ``.pt2``, ``.pt`` or ``.pth`` file holds.

    Raises:
        UsageError: It is no module, or the shapes given do not fit its inputs.
        StorageError: There is no such file.
        ConversionError: Its outputs are no tensors.
    """
    torch.manual_seed(0)
    found, examples = _load(request)
    notes: list[str] = []
    if isinstance(found, torch.export.ExportedProgram):
        program, module = found, found.module()
        names = list(request.shapes) or None
        inputs = _program_examples(program)
    else:
        program, module = None, found.eval()
        names, inputs = _inputs(found, examples, request.shapes)
        if examples is not None:
            notes.append("input shapes are those of the factory's example inputs, batch 1")
    # Deprecations inside PyTorch are its developers' concern, not the user's.
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(
            module if program is None else program,
            () if program is not None else tuple(inputs),
            dynamo=True,
            opset_version=OPSET,
            input_names=names,
            verbose=False,
        )
    model = exported.model_proto
    in_names = [value.name for value in model.graph.input]
    out_names = [value.name for value in model.graph.output]

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        tensors = [
            torch.from_numpy(np.ascontiguousarray(feeds[name])).to(like.dtype)
            for name, like in zip(in_names, inputs, strict=True)
        ]
        with torch.inference_mode():
            answers = _tensors(module(*tensors))
        return {name: _array(tensor) for name, tensor in zip(out_names, answers, strict=True)}

    return Exported(onnx=tidy(model), run=run, notes=tuple(notes))


def _load(
    request: Request,
) -> "tuple[torch.nn.Module | torch.export.ExportedProgram, list[torch.Tensor] | None]":
    """Return the model, and example inputs where a factory gives some."""
    if request.is_code:
        made = make(request.spec, request.root)
        model, examples = made if isinstance(made, tuple) and len(made) == _PAIR else (made, None)
        if isinstance(model, torch.nn.Module | torch.export.ExportedProgram):
            return model, None if examples is None else _tensors(examples)
        raise UsageError(
            f"{request.spec!r} made {type(model).__name__}, expected a torch.nn.Module, "
            "or a pair of module and example inputs"
        )
    path = request.existing_path()
    if path.suffix == PROGRAM_SUFFIX:
        return torch.export.load(path), None
    if path.suffix not in MODULE_SUFFIXES:
        raise UsageError(f"{path.name}: expected .pt2, .pt, .pth or module:factory for PyTorch")
    stored = torch.load(path, map_location="cpu", weights_only=False)
    if isinstance(stored, torch.jit.ScriptModule):
        raise UsageError(
            f"{path.name} is TorchScript, which PyTorch no longer exports: save the module with "
            "torch.export.save, or name module:factory"
        )
    if not isinstance(stored, torch.nn.Module):
        raise UsageError(
            f"{path.name} holds {type(stored).__name__} and no module: weights alone have no "
            "architecture; name module:factory that builds the module and loads them"
        )
    return stored, None


def _inputs(
    module: torch.nn.Module,
    examples: "list[torch.Tensor] | None",
    shapes: Mapping[str, tuple[int, ...]],
) -> "tuple[list[str] | None, list[torch.Tensor]]":
    """Return the inputs' names, where the user chose some, and tensors to trace with.

    Raises:
        UsageError: Shapes are missing, or do not fit the arguments of ``forward``.
    """
    if not shapes and examples is not None:
        return None, [_first_sample(tensor) for tensor in examples]
    arguments = _arguments(module)
    wanted = f"forward takes {', '.join(arguments) or 'no arguments'}"
    if not shapes:
        raise UsageError(
            "a PyTorch module does not know its input shape: give one, such as --shape "
            f"{arguments[0] if arguments else 'x'}=1,3,32,32 ({wanted})"
        )
    # By name where the names are those of forward; else in the order that they were given.
    names = [name for name in arguments if name in shapes]
    if len(names) != len(shapes):
        names = list(shapes)
    if len(names) > len(arguments) or min(map(min, shapes.values()), default=1) < 1:
        raise UsageError(f"{len(shapes)} shapes do not fit: {wanted}")
    types = [tensor.dtype for tensor in examples or ()]
    types += [torch.float32] * (len(names) - len(types))
    return names, [
        torch.zeros(shapes[name], dtype=dtype)
        for name, dtype in zip(names, types[: len(names)], strict=True)
    ]


def _arguments(module: torch.nn.Module) -> list[str]:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(module.forward).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind in positional]


def _first_sample(tensor: torch.Tensor) -> torch.Tensor:
    """Return a batch of examples cut to one: that is what a device runs."""
    return tensor[:1] if tensor.ndim else tensor


def _program_examples(program: torch.export.ExportedProgram) -> "list[torch.Tensor]":
    """Return one tensor for each input of a program, which fixes their shapes.

    Raises:
        ConversionError: The program was exported without example inputs.
    """
    if program.example_inputs is None:
        raise ConversionError("the exported program carries no example inputs")
    arguments, keywords = program.example_inputs
    return _tensors((arguments, keywords))


def _tensors(value: object) -> "list[torch.Tensor]":
    """Return the tensors of nested tuples, lists and mappings, in order.

    Raises:
        ConversionError: There is anything else in it.
    """
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for item in value.values() for tensor in _tensors(item)]
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in _tensors(item)]
    raise ConversionError(
        f"the model takes or gives {type(value).__name__}: only tensors, and tuples, lists and "
        "mappings of tensors, can be exported"
    )


def _array(tensor: torch.Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array.astype(np.float32) if array.dtype.kind == "f" else array
