"""``edgeops agent``: run the on-device agent, check its configuration, ask how it does."""

import os
from pathlib import Path
from typing import Annotated

import typer

from edgeops.console import new_app, print_json, say

app = new_app("Run and ask the on-device agent.")

ConfigOption = Annotated[Path, typer.Option("--config", help="Configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_CONFIG = Path("agent.yaml")


@app.command()
def run(
    config: ConfigOption = DEFAULT_CONFIG,
    once: Annotated[bool, typer.Option(help="End when every source has ended.")] = False,
    json: JsonOption = False,
) -> None:
    """Run the agent until a signal; SIGHUP rereads rules and actions."""
    from agent.daemon import run_agent  # noqa: PLC0415  # the other commands need no daemon

    _log_state_changes()
    summary = run_agent(config, once=once)
    if json:
        print_json(summary)
    elif once:
        for name, pipeline in summary.pipelines.items():
            lost = pipeline.errors + pipeline.bad_outputs
            without = f", {lost} more without an answer" if lost else ""
            figures = f"{pipeline.frames} frames, {pipeline.lat_p50_ms:.2f} ms each"
            say(f"pipeline {name}: {figures}{without}")
        for name, raised in summary.alerts.items():
            say(f"rule {name}: {raised} alerts")


@app.command()
def check(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Check a configuration: every fault at once, with its line."""
    from agent.checking import check as look_at  # noqa: PLC0415
    from agent.config import load_config  # noqa: PLC0415
    from edgeops.yamldoc import FaultyDocumentError  # noqa: PLC0415

    try:
        findings = look_at(load_config(config, os.environ))
        faults, warnings = findings.faults, findings.warnings
    except FaultyDocumentError as error:
        faults, warnings = error.faults, ()
    if json:
        print_json({"ok": not faults, "faults": list(faults), "warnings": list(warnings)})
    for fault in faults:
        say(f"{config}: {fault}")
    for warning in warnings:
        say(f"{config}: note: {warning}")
    if faults:
        raise typer.Exit(65)
    say(f"{config}: no fault found")


@app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Show how the running agent does."""
    from agent.api import ask  # noqa: PLC0415
    from agent.config import load_config  # noqa: PLC0415
    from agent.status import AgentStatus  # noqa: PLC0415
    from agent.status_text import lines  # noqa: PLC0415
    from edgeops import codec  # noqa: PLC0415

    answer = ask(load_config(config, os.environ).state_dir, "/v1/status")
    if json:
        print(answer.decode())
        return
    for line in lines(codec.decode(answer, AgentStatus, where="status", limit=8 << 20)):
        print(line)


@app.command()
def alerts(
    config: ConfigOption = DEFAULT_CONFIG,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    json: JsonOption = False,
) -> None:
    """Show the last alerts, also when no agent is running."""
    from agent.alert_history import recent_alerts  # noqa: PLC0415
    from agent.config import load_config  # noqa: PLC0415
    from agent.status_text import alert_line  # noqa: PLC0415

    found = recent_alerts(load_config(config, os.environ).state_dir, limit)
    if json:
        print_json({"alerts": list(found)})
        return
    for event in found:
        print(alert_line(event))


def _log_state_changes() -> None:
    """A daemon says what it does, unless the command line asked for another level."""
    import logging  # noqa: PLC0415

    from edgeops import logs  # noqa: PLC0415

    if logging.getLogger().getEffectiveLevel() >= logging.WARNING:
        logs.set_up(0, default=logging.INFO)
