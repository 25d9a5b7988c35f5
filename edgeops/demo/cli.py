"""``edgeops demo``: the whole mission on one machine, with real parts and measured figures."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgeops.console import new_app

app = new_app("Run the whole mission on this machine in 90 seconds, with real parts.", single=True)

MIN_DEVICES = 5
MAX_DEVICES = 20


@app.command()
def demo(
    devices: Annotated[
        int, typer.Option(min=MIN_DEVICES, max=MAX_DEVICES, help="Emulated devices.")
    ] = 6,
    seconds: Annotated[
        int, typer.Option(min=0, max=3600, help="Let the plant run this long before the end.")
    ] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the summary as JSON here.")] = None,
    dashboard: Annotated[bool, typer.Option(help="Redraw a live view on a terminal.")] = True,
    broker: Annotated[
        Literal["auto", "mosquitto", "builtin"], typer.Option(help="Which broker to start.")
    ] = "auto",
    keep: Annotated[
        Path | None, typer.Option(help="Work in this new folder and keep it; else a temporary one.")
    ] = None,
) -> None:
    """Convert, sign, roll out, infer and alert offline, stop a bad model, survive a kill.

    Everything runs on loopback and ends with the command. Exit status 0: every step happened;
    1: one did not, and the last line says which.
    """
    from edgeops.demo.performance import perform  # noqa: PLC0415  # Rich loads when used

    summary = perform(
        devices=devices, seconds=seconds, dashboard=dashboard, broker=broker, keep=keep, json=json
    )
    if not summary.ok:
        raise typer.Exit(1)
