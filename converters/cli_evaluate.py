"""``edgeops evaluate``: judge a bundle's variant, or a model file, on labelled data."""

import json as jsonlib
from pathlib import Path
from typing import Annotated, Literal

import typer

from edgeops.console import new_app

app = new_app("Judge a bundle or model on data.", single=True)

AskedRuntime = Literal["auto", "onnx", "tflite"]
AskedPrecision = Literal["auto", "float32", "float16", "int8", "int16x8", "dynamic-int8"]


@app.command()
def evaluate(
    source: Annotated[Path, typer.Argument(help="A bundle, or an .onnx or .tflite file.")],
    *,
    data: Annotated[Path, typer.Option(help="Labelled data: .npz, CSV or a folder.")],
    metric: Annotated[
        Literal["top1", "auc", "f1", "map50", "mse", "agreement"] | None,
        typer.Option(help="What decides; by default what fits the task."),
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(help="Column of the data to split the metric by; may be repeated."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Bundle or model file to compare with, sample by sample."),
    ] = None,
    against_runtime: Annotated[AskedRuntime, typer.Option(help="That one's runtime.")] = "auto",
    against_precision: Annotated[
        AskedPrecision, typer.Option(help="That one's precision.")
    ] = "auto",
    recipe: Annotated[
        Path | None, typer.Option(help="For a bare model file: task and pre-processing.")
    ] = None,
    runtime: Annotated[AskedRuntime, typer.Option(help="Variant's runtime.")] = "auto",
    precision: Annotated[AskedPrecision, typer.Option(help="Variant's precision.")] = "auto",
    raw: Annotated[bool, typer.Option("--raw", help="The data are tensors.")] = False,
    folds: Annotated[
        int | None,
        typer.Option(help="Fit module:factory anew on all parts of the data but one, K times."),
    ] = None,
    seed: Annotated[int, typer.Option(help="With --folds: which row falls where.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Run every sample through the processing that devices run, and print figures.

    Figures carry 95 % confidence intervals. With --against, both models answer the same samples
    (labelled or not), and classes or slices that lose more than the rest are named.
    """
    if folds is not None:
        _folds(str(source), data, folds=folds, metric=metric, seed=seed, recipe=recipe, json=json)
        return
    from converters.judging import Source, judge  # noqa: PLC0415 - heavy
    from converters.judging_table import lines  # noqa: PLC0415

    found = judge(
        Source(path=source, runtime=runtime, precision=precision),
        data=data,
        metric=metric,
        columns=tuple(slices or ()),
        recipe=recipe,
        raw=raw,
        against=(
            None
            if against is None
            else Source(path=against, runtime=against_runtime, precision=against_precision)
        ),
    )
    if json:
        print(jsonlib.dumps(found.record(), sort_keys=True))
        return
    print("\n".join(lines(found)))


def _folds(
    spec: str,
    data: Path,
    *,
    folds: int,
    metric: str | None,
    seed: int,
    recipe: Path | None,
    json: bool,
) -> None:
    from converters.crossval import cross_validate_code  # noqa: PLC0415 - heavy

    found = cross_validate_code(
        spec, Path(), data=data, folds=folds, metric=metric, seed=seed, recipe=recipe
    )
    print(jsonlib.dumps(found.record(), sort_keys=True) if json else "\n".join(found.lines()))


if __name__ == "__main__":
    app()
