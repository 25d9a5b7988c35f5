"""``edgeops convert``: a trained model becomes a signed bundle."""

import json as jsonlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from converters.help_groups import GroupedCommand
from edgeops.console import new_app, say
from edgeops.errors import ConversionError, UsageError

if TYPE_CHECKING:
    from converters.outcome import Conversion
    from converters.recipe import LoadedRecipe

app = new_app("Convert a trained model into a signed bundle for devices.", single=True)

_MODEL: Final = "Model"
_FILES: Final = "Files to make"
_DATA: Final = "Data"
_BUDGET: Final = "Accuracy"
_SIZE: Final = "Compression"
_BUNDLE: Final = "Bundle"

_EXAMPLES: Final = """\
Examples:

\b
  edgeops convert net.onnx --out bundles
  edgeops convert net.tflite --out bundles --to tflite,onnx --calibration train.npz
      --evaluate test.npz --metric top1 --max-drop 0.01
  edgeops convert --recipe door.yaml --out bundles --target mcu-tflm
  edgeops convert --recipe door.yaml --check bundles/door-1.0.0.edgeops
"""


@app.command(cls=GroupedCommand, epilog=_EXAMPLES)
def convert(
    model: Annotated[
        str | None,
        typer.Argument(help="Float model: a file, or module:factory for PyTorch."),
    ] = None,
    *,
    recipe: Annotated[
        Path | None,
        typer.Option(help="Recipe (YAML); flags override it.", rich_help_panel=_MODEL),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="onnx, tflite, pytorch, keras, savedmodel, sklearn, xgboost, lightgbm; needed "
            "where reading the file can run code.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=1,3,224,224: an input that the model leaves open.", rich_help_panel=_MODEL
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(help="nchw or nhwc: the model's image input.", rich_help_panel=_MODEL),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Class names, comma-separated.", rich_help_panel=_MODEL)
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Profile or board, such as raspberry-pi-4 or mcu-tflm.", rich_help_panel=_FILES
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Runtimes: tflite,onnx.", rich_help_panel=_FILES)
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="float32,float16,dynamic-int8,int8,int16x8.", rich_help_panel=_FILES),
    ] = None,
    io: Annotated[
        str | None,
        typer.Option(
            help="float32, int8 or uint8: edges of TFLite int8 files.", rich_help_panel=_FILES
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Data to choose scales on.", rich_help_panel=_DATA)
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="How many of them are drawn.", rich_help_panel=_DATA)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Which are.", rich_help_panel=_DATA)] = None,
    calibration_method: Annotated[
        str | None,
        typer.Option(help="auto, minmax, percentile, mse or entropy.", rich_help_panel=_DATA),
    ] = None,
    evaluate: Annotated[
        Path | None, typer.Option(help="Data to judge variants on.", rich_help_panel=_DATA)
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Data files hold tensors.", rich_help_panel=_DATA)
    ] = False,
    metric: Annotated[
        str | None,
        typer.Option(help="top1, f1, auc, map50, mse or agreement.", rich_help_panel=_BUDGET),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Largest accepted loss, 0-1.", rich_help_panel=_BUDGET)
    ] = None,
    slices: Annotated[
        str | None,
        typer.Option(help="Columns to split the metric by.", rich_help_panel=_BUDGET),
    ] = None,
    keep_float: Annotated[
        str | None,
        typer.Option(help="Layers that stay float, comma-separated.", rich_help_panel=_BUDGET),
    ] = None,
    prune: Annotated[
        str | None,
        typer.Option(
            help="Share of the channels to remove, or auto: as many as the budget allows.",
            rich_help_panel=_SIZE,
        ),
    ] = None,
    finetune: Annotated[
        Path | None,
        typer.Option(help="Options (YAML) of training after pruning.", rich_help_panel=_SIZE),
    ] = None,
    scales_from: Annotated[
        Path | None,
        typer.Option(
            help="Bundle whose scales are kept, for small updates.", rich_help_panel=_SIZE
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the bundle.", rich_help_panel=_BUNDLE)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the bundle.", rich_help_panel=_BUNDLE)
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Semantic version.", rich_help_panel=_BUNDLE)
    ] = None,
    serial: Annotated[
        int | None,
        typer.Option(
            min=1, help="Grows with each release; devices never go down.", rich_help_panel=_BUNDLE
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Private release key.", rich_help_panel=_BUNDLE)
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            help="Rebuild and compare with this bundle; writes nothing.", rich_help_panel=_BUNDLE
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print the outcome as JSON.", rich_help_panel=_BUNDLE),
    ] = False,
) -> None:
    """Convert MODEL (or the recipe's) into a signed bundle; ends with 0, or 70 when refused."""
    from converters.flags import (  # noqa: PLC0415 - help needs none of this
        Flags,
        completion,
        original,
        other_half,
        overlay,
    )
    from converters.recipe import load_recipe  # noqa: PLC0415

    flags = Flags(
        model=model,
        format=format_,
        shape=shape or (),
        name=name,
        version=version,
        serial=serial,
        to=to,
        precision=precision,
        calibration=calibration,
        samples=samples,
        seed=seed,
        calibration_method=calibration_method,
        evaluate=evaluate,
        metric=metric,
        max_drop=max_drop,
        slices=slices,
        labels=labels,
        layout=layout,
        target=target,
        io=io,
        keep_float=keep_float,
        scales_from=scales_from,
        prune=prune,
        finetune=finetune,
        raw=raw,
    )
    overrides = overlay(flags, has_recipe=recipe is not None)
    origin = original(flags) if recipe is None else None
    if origin is not None:
        overrides |= completion(flags, origin)
    loaded = load_recipe(recipe, overrides)
    if half := other_half(flags, loaded.recipe):
        loaded = load_recipe(recipe, overrides | half)
    loaded = replace(loaded, origin=origin)
    if check is not None:
        if out is not None or key is not None:
            raise UsageError("--check writes and signs nothing: leave --out and --key away")
        _check(loaded, check, json=json)
        return
    if out is None:
        raise UsageError("--out is needed: the folder for the bundle")
    done = _run(loaded, out, key)
    from converters.outcome_table import remarks, table  # noqa: PLC0415 - loaded by now

    shown = table(done, aligned=sys.stdout.isatty())
    print(jsonlib.dumps(done.record(), sort_keys=True) if json else shown)
    for sentence in remarks(done):
        say(sentence)
    if done.verdict == "refused":
        raise typer.Exit(ConversionError.exit_status)


def _run(loaded: "LoadedRecipe", out: Path, key: Path | None) -> "Conversion":
    from converters.interruption import ending_cleanly  # noqa: PLC0415 - heavy
    from converters.pipeline import Signer, convert  # noqa: PLC0415
    from converters.progress_bar import shown  # noqa: PLC0415
    from edgeops.clock import SystemClock  # noqa: PLC0415
    from edgeops.trust import SigningKey, development_key  # noqa: PLC0415

    if key is None:
        private, public = development_key()
        say(f"signed with the development key; devices need to trust {public}")
        signer = Signer(key=private, development=True)
    else:
        signer = Signer(key=SigningKey.load(key), development=False)
    with ending_cleanly(), shown() as bar:
        return convert(loaded, out, signer=signer, clock=SystemClock(), say=bar.say, progress=bar)


def _check(loaded: "LoadedRecipe", bundle: Path, *, json: bool) -> None:
    from converters.interruption import ending_cleanly  # noqa: PLC0415 - heavy
    from converters.progress_bar import shown  # noqa: PLC0415
    from converters.rebuild import rebuild  # noqa: PLC0415

    with ending_cleanly(), shown() as bar:
        digest = rebuild(loaded, bundle, bar.say, bar)
    if json:
        print(jsonlib.dumps({"bundle": str(bundle), "digest": digest, "same": True}))
    else:
        say(f"{bundle}: rebuilt byte for byte, {digest}")


if __name__ == "__main__":
    app()
