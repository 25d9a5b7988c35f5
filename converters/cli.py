"""``edgeops convert``: a trained model becomes a signed bundle."""

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeops.console import new_app, say
from edgeops.errors import ConversionError, UsageError

if TYPE_CHECKING:
    from converters.outcome import Conversion
    from converters.recipe import LoadedRecipe

app = new_app("Convert a trained model into a signed bundle for devices.", single=True)


@app.command()
def convert(
    model: Annotated[Path | None, typer.Argument(help="Float ONNX model.")] = None,
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for the bundle.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="Recipe (YAML); flags override it.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the bundle.")] = None,
    version: Annotated[str | None, typer.Option(help="Semantic version.")] = None,
    serial: Annotated[
        int | None, typer.Option(min=1, help="Grows with each release; devices never go down.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="Runtimes: tflite,onnx.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32,float16,dynamic-int8,int8.")
    ] = None,
    calibration: Annotated[Path | None, typer.Option(help="Data to choose scales on.")] = None,
    evaluate: Annotated[Path | None, typer.Option(help="Data to judge variants on.")] = None,
    metric: Annotated[str | None, typer.Option(help="top1, auc, f1, agreement, map50.")] = None,
    max_drop: Annotated[float | None, typer.Option(help="Largest accepted loss, 0-1.")] = None,
    labels: Annotated[str | None, typer.Option(help="Class names, comma-separated.")] = None,
    layout: Annotated[str | None, typer.Option(help="nchw or nhwc: the ONNX input.")] = None,
    target: Annotated[str | None, typer.Option(help="Board, such as raspberry-pi-4.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Data files hold tensors.")] = False,
    key: Annotated[Path | None, typer.Option(help="Private release key.")] = None,
    check: Annotated[
        Path | None, typer.Option(help="Rebuild and compare with this bundle; writes nothing.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Convert MODEL (or the recipe's) into a signed bundle; ends with 0, or 70 when refused."""
    from converters.flags import Flags, overlay  # noqa: PLC0415 - help needs none of this
    from converters.recipe import load_recipe  # noqa: PLC0415

    flags = Flags(
        model=model,
        name=name,
        version=version,
        serial=serial,
        to=to,
        precision=precision,
        calibration=calibration,
        evaluate=evaluate,
        metric=metric,
        max_drop=max_drop,
        labels=labels,
        layout=layout,
        target=target,
        raw=raw,
    )
    loaded = load_recipe(recipe, overlay(flags, has_recipe=recipe is not None))
    if check is not None:
        _check(loaded, check, json=json)
        return
    if out is None:
        raise UsageError("--out is needed: the folder for the bundle")
    done = _run(loaded, out, key)
    print(jsonlib.dumps(done.record(), sort_keys=True) if json else _table(done))
    for warning in done.warnings:
        say(f"warning: {warning}")
    for refusal in done.refusals:
        say(f"not made: {refusal.runtime} {refusal.precision}: {refusal.reason}")
    if done.verdict == "refused":
        raise typer.Exit(ConversionError.exit_status)


def _run(loaded: "LoadedRecipe", out: Path, key: Path | None) -> "Conversion":
    from converters.pipeline import Signer, convert  # noqa: PLC0415 - heavy
    from edgeops.clock import SystemClock  # noqa: PLC0415
    from edgeops.trust import SigningKey, development_key  # noqa: PLC0415

    if key is None:
        private, public = development_key()
        say(f"signed with the development key; devices need to trust {public}")
        signer = Signer(key=private, development=True)
    else:
        signer = Signer(key=SigningKey.load(key), development=False)
    return convert(loaded, out, signer=signer, clock=SystemClock(), say=say)


def _check(loaded: "LoadedRecipe", bundle: Path, *, json: bool) -> None:
    from converters.rebuild import rebuild  # noqa: PLC0415 - heavy

    digest = rebuild(loaded, bundle, say)
    if json:
        print(jsonlib.dumps({"bundle": str(bundle), "digest": digest, "same": True}))
    else:
        say(f"{bundle}: rebuilt byte for byte, {digest}")


def _table(done: "Conversion") -> str:
    rows = [("variant", "size", "drop", "p50 ms", "int8 share", "metrics")]
    for variant in done.variants:
        made = variant.made
        figures = " ".join(f"{name}={value:.4f}" for name, value in variant.metrics.items())
        rows.append(
            (
                f"{made.output.runtime} {made.output.precision}",
                f"{variant.size_bytes / 1000:.1f} kB",
                "" if variant.drop is None else f"{variant.drop:+.4f}",
                f"{variant.latency_ms.get('p50', 0):.3f}",
                f"{made.quantized_macs:.0%}",
                figures,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    baseline = " ".join(f"{name}={value:.4f}" for name, value in done.baseline.items())
    tail = [f"float original: {baseline or 'not judged'}", f"verdict: {done.verdict}"]
    if done.bundle is not None:
        tail.append(f"bundle: {done.bundle} {done.digest}")
    return "\n".join(lines + tail)


if __name__ == "__main__":
    app()
