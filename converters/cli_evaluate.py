"""``edgeops evaluate``: judge a bundle's variant, or a model file, on labelled data."""

import json as jsonlib
from pathlib import Path
from typing import Annotated, Literal

import typer

from edgeops.console import new_app

app = new_app("Judge a bundle or model on data.", single=True)


@app.command()
def evaluate(
    source: Annotated[Path, typer.Argument(help="A bundle, or an .onnx or .tflite file.")],
    *,
    data: Annotated[Path, typer.Option(help="Labelled data: .npz, CSV or a folder.")],
    metric: Annotated[
        Literal["top1", "auc", "f1", "map50"] | None, typer.Option(help="By default the task's.")
    ] = None,
    slices: Annotated[
        str | None, typer.Option(help="Column of the data to split the metric by.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="For a bare model file: task and pre-processing.")
    ] = None,
    runtime: Annotated[
        Literal["auto", "onnx", "tflite"], typer.Option(help="Variant's runtime.")
    ] = "auto",
    precision: Annotated[
        Literal["auto", "float32", "float16", "int8", "dynamic-int8"],
        typer.Option(help="Variant's precision."),
    ] = "auto",
    raw: Annotated[bool, typer.Option("--raw", help="The data are tensors.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Run every sample through the processing that devices run, and print figures."""
    from converters.judging import judge  # noqa: PLC0415 - heavy
    from converters.sources import opened_source  # noqa: PLC0415

    with opened_source(source, runtime=runtime, precision=precision) as (file, bundle):
        record = judge(
            file, bundle, recipe=recipe, data=data, metric=metric, column=slices, raw=raw
        )
    if json:
        print(jsonlib.dumps(record, sort_keys=True))
        return
    for part in ("samples", "metrics", "per_class", "slices"):
        print(f"{part}: {jsonlib.dumps(record[part], sort_keys=True)}")


if __name__ == "__main__":
    app()
