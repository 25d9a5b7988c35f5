"""``edgeops model``: what a model file is, what is wrong with it, and its repair."""

from pathlib import Path
from typing import Annotated

import typer

from edgeops.codec import plain
from edgeops.console import new_app, print_json, say

app = new_app("Look into model files: show what they are, find and repair what is wrong.")

File = Annotated[Path, typer.Argument(help="An .onnx or .tflite file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

UNHEALTHY = 1


@app.command()
def doctor(
    file: File,
    *,
    repair: Annotated[
        Path | None, typer.Option(help="Write a repaired copy here; the input stays as it is.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing copy.")] = False,
    json: Json = False,
) -> None:
    """Explain what is wrong with a model file; ends with 1 where faults or warnings remain."""
    from converters.doctor.examination import examine  # noqa: PLC0415 - onnx is heavy
    from converters.doctor.repair import repair as write_repaired  # noqa: PLC0415

    examined = examine(file)
    remaining = examined
    if repair is not None:
        done = write_repaired(examined, repair, force=force)
        proof = (
            "it runs and answers as the original does"
            if done.compared
            else "it runs; the original did not, so there is nothing to compare"
        )
        say(f"{done.out}: repaired {', '.join(done.rules)}; {proof}")
        remaining = examine(done.out)
    if json:
        print_json(
            {
                "file": file.name,
                "format": examined.format,
                "healthy": examined.healthy,
                "findings": plain(examined.findings),
                "repaired": str(repair) if repair is not None else None,
                "remaining": plain(remaining.findings) if repair is not None else None,
            }
        )
    else:
        for found in examined.findings:
            place = f" {found.where!r}" if found.where else ""
            print(f"{found.severity}: {found.rule}{place}: {found.what} ({found.remedy})")
        if not examined.findings:
            say(f"{file.name}: nothing found")
    if not remaining.healthy:
        raise typer.Exit(UNHEALTHY)


@app.command()
def show(file: File, *, json: Json = False) -> None:
    """Print inputs, outputs, operators, size and work of a model file."""
    from converters.doctor.description import describe  # noqa: PLC0415 - onnx is heavy

    found = describe(file)
    if json:
        print_json(found)
        return
    work = f", {found.macs} multiply-accumulates" if found.macs is not None else ""
    print(f"{found.file}: {found.format}, {found.version}, {found.numbers}")
    print(f"{found.size_bytes} bytes, {found.parameters} parameters{work}")
    for label, ports in (("input", found.inputs), ("output", found.outputs)):
        for port in ports:
            print(f"{label} {port.name!r}: {port.dtype} {list(port.shape)}")
    for operator, count in found.operators.items():
        print(f"{count}\t{operator}")


if __name__ == "__main__":
    app()
