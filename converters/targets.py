"""Targets: what a processor or runtime needs of a model file, one data file each.

The files stand in ``target_profiles``; a board is another name for the profile that lists it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Final, Literal

from msgspec import Meta

from converters.recipe import Output, Recipe, TensorEdge
from edgeops import yamldoc
from edgeops.contracts.scalars import Precision, Runtime
from edgeops.errors import UsageError

_FOLDER: Final = "target_profiles"
_SUFFIX: Final = ".yaml"

_USUAL: Final[tuple[Precision, ...]] = ("int8", "float32")
"""What is made where nobody says otherwise, as far as data and target allow; smallest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a processor or its runtime needs of a model file.

    Attributes:
        name: Name of the profile; empty where no target was asked for.
        summary: What it is, in a few words.
        boards: Other names of the profile.
        runtimes: What runs files there, the preferred one first.
        precisions: Numbers that it can calculate with.
        activations: Integer type of activations in ONNX int8 files. ONNX Runtime is 2 to 10
            times faster with uint8 on x86 and with int8 on ARM; the numbers are the same.
        per_channel: Whether weights may have one scale per channel.
        equalize: Whether layers are equalized before scales are chosen.
        io: Element type of inputs and outputs of TFLite int8 files.
        operators: TFLite operators that it knows; an empty list means any.
        channel_multiple: Pruned layers keep a multiple of so many channels.
        max_opset: Newest ONNX operator set that it reads.
        threads: Threads that latency is measured with.
        reduce_range: Whether ONNX int8 weights leave out their highest bit.
        arena: Whether to say how much memory the tensors need at once.
        notes: What else to know, for people.
    """

    name: str = ""
    summary: str = ""
    boards: tuple[str, ...] = ()
    runtimes: tuple[Runtime, ...] = ("onnx", "tflite")
    precisions: tuple[Precision, ...] = ("int8", "int16x8", "dynamic-int8", "float16", "float32")
    activations: Literal["uint8", "int8"] = "uint8"
    per_channel: bool = True
    equalize: bool = False
    io: TensorEdge = "float32"
    operators: tuple[str, ...] = ()
    channel_multiple: Annotated[int, Meta(ge=1, le=64)] = 8
    max_opset: Annotated[int, Meta(ge=13)] = 21
    threads: Annotated[int, Meta(ge=1, le=64)] = 1
    reduce_range: bool = False
    arena: bool = False
    notes: tuple[str, ...] = ()


@cache
def targets() -> Mapping[str, Target]:
    """Return every profile by its name, in alphabetical order."""
    folder = resources.files("converters") / _FOLDER
    found: dict[str, Target] = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(_SUFFIX):
            profile = yamldoc.parse(file.read_bytes(), Target, name=file.name)
            name = file.name.removesuffix(_SUFFIX)
            found[name] = replace(profile, name=name)
    return MappingProxyType(found)


def load_target(name: str) -> Target:
    """Return the profile that a profile's or a board's name means.

    Raises:
        UsageError: There is none of this name.
    """
    known = targets()
    if name in known:
        return known[name]
    for profile in known.values():
        if name in profile.boards:
            return profile
    names = [*known, *sorted(board for profile in known.values() for board in profile.boards)]
    raise UsageError(f"no target {name!r}; there are {', '.join(names)}")


def target_of(recipe: Recipe) -> Target:
    """Return the recipe's target, with what the recipe says otherwise laid over it.

    Raises:
        UsageError: There is no such target.
    """
    target = Target() if recipe.target is None else load_target(recipe.target)
    return replace(
        target,
        activations=recipe.activations or target.activations,
        io=recipe.io or target.io,
    )


def outputs_of(recipe: Recipe, target: Target) -> tuple[Output, ...]:
    """Return the files to make: the recipe's, or what its target and data suggest.

    Raises:
        UsageError: The target runs no such file.
    """
    if not recipe.outputs:
        return usual_outputs(recipe, target)
    for output in recipe.outputs:
        if output.runtime not in target.runtimes:
            raise UsageError(
                f"the target {target.name} has the runtime {' or '.join(target.runtimes)}, "
                f"not {output.runtime}"
            )
        if output.precision not in target.precisions:
            raise UsageError(
                f"the target {target.name} calculates in {' or '.join(target.precisions)}, "
                f"not in {output.precision}"
            )
    return recipe.outputs


def usual_outputs(recipe: Recipe, target: Target) -> tuple[Output, ...]:
    """Return what target and data suggest: int8 where there are calibration data, and float32."""
    # Without a target one runtime is enough: the one that takes every operator.
    runtimes = target.runtimes if target.name else target.runtimes[:1]
    wanted = [
        precision
        for precision in _USUAL
        if precision in target.precisions
        and (precision != "int8" or recipe.calibration is not None)
    ]
    # A target of integers alone: what is missing is said where the files are made.
    return tuple(
        Output(runtime=runtime, precision=precision)
        for precision in wanted or target.precisions[:1]
        for runtime in runtimes
    )
