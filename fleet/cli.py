"""``edgeops fleet``: serves a fleet, and talks to a server that does."""

from pathlib import Path
from typing import Annotated

import typer

from edgeops.console import new_app, print_json, say
from fleet import cli_models, cli_rollout
from fleet.cli_common import (
    Config,
    Json,
    TokenFile,
    Url,
    client,
    label_of,
    listing,
    short,
    table,
    when,
)

app = new_app("Serve a fleet: devices, models, staged rollouts, telemetry and alerts.")
app.add_typer(cli_models.app, name="models")
app.add_typer(cli_rollout.app, name="rollout")

Device = Annotated[str, typer.Argument(help="The device's id.")]


@app.command()
def serve(
    *,
    config: Annotated[
        Path | None, typer.Option(help="fleet.yaml; without it ./edgeops-fleet is used.")
    ] = None,
) -> None:
    """Serve until SIGTERM; where everything listens is written to endpoints.json."""
    from fleet.cli_serve import serve as run  # noqa: PLC0415  # loads the whole server

    run(config)


@app.command()
def enroll(
    *,
    device: Device,
    out: Annotated[Path, typer.Option(help="Folder for credential, keys and agent.yaml.")],
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; may be repeated.")] = None,
    board: Annotated[str, typer.Option(help="Kind of hardware.")] = "",
    site: Annotated[str, typer.Option(help="Where it stands.")] = "",
    url: Url = None,
    token_file: TokenFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make a device known and write the folder that goes to it."""
    from fleet import enrol_folder  # noqa: PLC0415

    labels = dict(label_of(text) for text in label or [])
    enrol_folder.check_target(out)
    with client(url, token_file, config) as fleet:
        answer = fleet.post(
            "devices",
            body={"device": device, "site": site, "board": board, "labels": {**labels}},
        )
    names = enrol_folder.write(out, answer)
    if json:
        print_json({"device": device, "folder": str(out), "files": names})
    else:
        say(f"{device} is enrolled: {out} holds {', '.join(names)} (keep it secret)")


@app.command()
def decommission(
    *,
    device: Device,
    url: Url = None,
    token_file: TokenFile = None,
    config: Config = None,
) -> None:
    """Stop trusting a device; what it sent stays."""
    with client(url, token_file, config) as fleet:
        fleet.delete("devices", device)
    say(f"{device} is decommissioned: broker and server refuse it from now on")


@app.command()
def devices(
    *,
    device: Annotated[str | None, typer.Argument(help="Only this one, in full.")] = None,
    site: Annotated[str | None, typer.Option(help="Only of this site.")] = None,
    board: Annotated[str | None, typer.Option(help="Only of this board.")] = None,
    url: Url = None,
    token_file: TokenFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List devices: who is online, and what each runs beside what it must run."""
    with client(url, token_file, config) as fleet:
        if device is not None:
            rows = [fleet.get_object("devices", device)]
        else:
            rows = []
            while page := fleet.get_list(
                "devices", site=site, board=board, after=str(rows[-1]["id"]) if rows else None
            ):
                rows += page
    if json:
        print_json(rows[0] if device is not None else rows)
        return
    lines: list[list[object]] = []
    for row in rows:
        slots = row.get("slots")
        for slot in slots if isinstance(slots, list) and slots else [{}]:
            found = slot if isinstance(slot, dict) else {}
            wanted = "in sync" if found.get("in_sync") else short(found.get("assigned"))
            lines.append(
                [
                    row["id"], row["site"], row["board"], row["online"], found.get("slot"),
                    found.get("version") or short(found.get("running")), found.get("state"),
                    wanted, found.get("reason"), when(row["last_seen_s"]),
                ]
            )  # fmt: skip
    table(
        ("device", "site", "board", "online", "slot", "runs", "state", "wanted", "reason", "seen"),
        lines,
    )


@app.command()
def telemetry(
    *,
    device: Annotated[str | None, typer.Option(help="Only of this device.")] = None,
    stream: Annotated[str | None, typer.Option(help="Only this stream.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    url: Url = None,
    token_file: TokenFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show what telemetry adds up to, by device, stream and model."""
    with client(url, token_file, config) as fleet:
        rows = fleet.get_list("telemetry", device=device, stream=stream, limit=limit)
    if json:
        print_json(rows)
        return
    lines = []
    for row in rows:
        figures = row.get("figures")
        frames = figures.get("frames") if isinstance(figures, dict) else None
        total = frames.get("sum") if isinstance(frames, dict) else None
        lines.append(
            [
                row["device"], row["stream"], short(row["model"]), row["windows"],
                int(total) if isinstance(total, float) else total,
                when(row["received_s"]),
            ]
        )  # fmt: skip
    table(("device", "stream", "model", "windows", "frames", "last"), lines)


@app.command()
def alerts(
    *,
    device: Annotated[str | None, typer.Option(help="Only of this device.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only of this rule.")] = None,
    state: Annotated[str | None, typer.Option(help="raised or cleared.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    url: Url = None,
    token_file: TokenFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List alerts, newest first."""
    with client(url, token_file, config) as fleet:
        rows = fleet.get_list("alerts", device=device, rule=rule, state=state, limit=limit)
    if json:
        print_json(rows)
        return
    lines = [
        [
            when(row["wall"]), row["device"], row["rule"], row["state"], row["severity"],
            row["message"],
        ]
        for row in rows
    ]  # fmt: skip
    table(("when", "device", "rule", "state", "severity", "message"), lines)


@app.command()
def counts(
    *, url: Url = None, token_file: TokenFile = None, config: Config = None, json: Json = False
) -> None:
    """Show the fleet in numbers."""
    with client(url, token_file, config) as fleet:
        found = fleet.get_object("counts")
    if json:
        print_json(found)
    else:
        counters = found.pop("counters", {})
        named = {**found, **(counters if isinstance(counters, dict) else {})}
        table(("what", "number"), list(named.items()))


@app.command(name="dead-letters")
def dead_letters(
    *,
    device: Annotated[str | None, typer.Option(help="Only of this device.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    url: Url = None,
    token_file: TokenFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List messages that could not be taken."""
    path = ("dead-letters",) if device is None else ("devices", device, "dead-letters")
    with client(url, token_file, config) as fleet:
        rows = fleet.get_list(*path, limit=limit)
    listing(
        rows,
        ("row", "device", "topic", "cause", "detail"),
        ("row", "device", "topic", "cause", "detail"),
        json=json,
    )


@app.command(name="broker-config")
def broker_config(
    *,
    out: Annotated[Path, typer.Option(help="Folder for mosquitto.conf, passwd and acl.")],
    config: Annotated[Path | None, typer.Option(help="fleet.yaml.")] = None,
    listen: Annotated[str, typer.Option(help="Where that broker will listen.")] = "127.0.0.1:1883",
) -> None:
    """Write the files of a Mosquitto that somebody else runs, with every enrolled device."""
    from fleet.cli_serve import write_broker_config  # noqa: PLC0415

    write_broker_config(config, out, listen)
