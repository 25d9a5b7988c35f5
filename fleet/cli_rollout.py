"""``edgeops fleet rollout``: staged rollouts from the command line."""

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeops import codec
from edgeops.console import new_app, print_json, say
from edgeops.errors import UsageError
from fleet.cli_common import (
    Config,
    Json,
    TokenFile,
    Url,
    client,
    duration_of,
    label_of,
    pairs,
    short,
    table,
    when,
)

if TYPE_CHECKING:
    from fleet.client import JsonObject
    from fleet.rollouts.spec import RolloutSpec

app = new_app("Start, watch, explain and stop staged rollouts.")

Rollout = Annotated[str, typer.Argument(help="The rollout's id.")]
Expected = Annotated[
    int | None,
    typer.Option("--expected-revision", help="Refuse if it changed since this revision."),
]


@app.command()
def start(
    *,
    bundle: Annotated[
        str, typer.Argument(help="Digest, its beginning, name@version, or name (newest).")
    ],
    policy: Annotated[Path | None, typer.Option(help="Policy as YAML; flags override it.")] = None,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    slot: Annotated[str | None, typer.Option(help="Slot of the device; default main.")] = None,
    canary: Annotated[int | None, typer.Option(min=1, help="Devices of the first stage.")] = None,
    stages: Annotated[str | None, typer.Option(help="Totals in per cent, such as 25,100.")] = None,
    soak: Annotated[str | None, typer.Option(help="Soak time of each stage; default 0s.")] = None,
    max_in_flight: Annotated[
        int | None, typer.Option(min=1, help="Devices away at once; default 100.")
    ] = None,
    attempt_timeout: Annotated[
        str | None, typer.Option(help="Time for one device; default 1h.")
    ] = None,
    max_failure_rate: Annotated[float | None, typer.Option(help="Gate, 0.001 to 0.5.")] = None,
    on_fail: Annotated[str | None, typer.Option(help="pause, abort-keep or abort-revert.")] = None,
    site: Annotated[str | None, typer.Option(help="Only devices of this site.")] = None,
    board: Annotated[str | None, typer.Option(help="Only devices of this board.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only devices with KEY=VALUE.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="Only this device; repeat.")] = None,
    probation: Annotated[str | None, typer.Option(help="Shortest probation, such as 60s.")] = None,
    probation_frames: Annotated[int | None, typer.Option(help="Fewest frames in it.")] = None,
    approval: Annotated[bool, typer.Option(help="Wait for 'rollout approve'.")] = False,
    downgrade_ok: Annotated[bool, typer.Option(help="Let devices go down to it.")] = False,
    supersede: Annotated[bool, typer.Option(help="End open rollouts on these devices.")] = False,
    request_key: Annotated[
        str | None, typer.Option(help="The same key again makes no second rollout.")
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Roll a bundle out in stages, each judged by evidence before the next."""
    overrides: dict[str, object] = {
        "name": name,
        "slot": slot,
        "gate.max_failure_rate": max_failure_rate,
        "gate.on_fail": on_fail,
        "selector.site": site,
        "selector.board": board,
        "selector.labels": dict(label_of(text) for text in label) if label else None,
        "selector.devices": device or None,
        "probation.s": float(duration_of(probation, "--probation")) if probation else None,
        "probation.frames": probation_frames,
        "approval": approval or None,
        "downgrade_ok": downgrade_ok or None,
    }
    details = (soak, max_in_flight, attempt_timeout)
    if canary is not None or stages is not None or (policy is None and any(details)):
        overrides["stages"] = _stages(canary, stages, *details)
    elif any(details):
        raise UsageError(
            "--soak, --max-in-flight and --attempt-timeout go with --canary or --stages;"
            " for the stages of a policy write them there"
        )
    with client(url, token_file, config) as fleet:
        entry = fleet.get_object("bundles", bundle)["entry"]
        overrides["bundle"] = entry["digest"] if isinstance(entry, dict) else None
        spec = _spec(policy, overrides)
        answer = fleet.post(
            "rollouts",
            query={"supersede": "true" if supersede else None},
            body=codec.plain(spec),
            headers={"Idempotency-Key": request_key} if request_key else None,
        )
    notices, made = answer.get("notices"), answer.get("rollout")
    for notice in notices if isinstance(notices, list) else []:
        say(f"note: {notice}")
    if json:
        print_json(answer)
    elif isinstance(made, dict):
        say(f"rollout {made['id']} is {made['state']}: {made['size']} device(s)")
        print(made["id"])


@app.command(name="list")
def list_(
    *, url: Url = None, token_file: TokenFile = None, config: Config = None, json: Json = False
) -> None:
    """List rollouts, newest first."""
    with client(url, token_file, config) as fleet:
        rows = fleet.get_list("rollouts")
    if json:
        print_json(rows)
        return
    lines = [
        [
            row["id"], row["name"], short(row["bundle"]), row["slot"], row["state"], row["stage"],
            f"{row['committed']}/{row['size']}", row["failed"], when(row["created_s"]),
        ]
        for row in rows
    ]  # fmt: skip
    columns = ("id", "name", "bundle", "slot", "state", "stage", "committed", "failed", "created")
    table(columns, lines)


@app.command()
def show(
    *,
    rollout: Rollout,
    devices: Annotated[bool, typer.Option(help="Also every device.")] = False,
    url: Url = None,
    token_file: TokenFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show one rollout with its stages."""
    with client(url, token_file, config) as fleet:
        found = fleet.get_object("rollouts", rollout)
        members = fleet.get_list("rollouts", rollout, "devices") if devices else []
    if json:
        print_json({**found, "members": members} if devices else found)
        return
    _say_state(found)
    stages = found["stages"]
    table(
        ("stage", "state", "size", "devices", "unreachable", "verdict", "reason"),
        [
            [
                stage["stage"], stage["state"], stage["size"], pairs(stage["devices"]),
                stage["unreachable"], stage["verdict"], stage["reason"],
            ]
            for stage in (stages if isinstance(stages, list) else [])
            if isinstance(stage, dict)
        ],
    )  # fmt: skip
    if devices:
        names = ("device", "stage", "state", "attempt", "reason", "detail")
        table(names, [[member.get(name) for name in names] for member in members])


@app.command()
def explain(
    *,
    rollout: Rollout,
    url: Url = None,
    token_file: TokenFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show every decision with its figures; ends with 77 where the evidence was changed."""
    with client(url, token_file, config) as fleet:
        found = fleet.get_object("rollouts", rollout, "explain")
    if json:
        print_json(found)
        return
    now, records = found["rollout"], found["evidence"]
    if isinstance(now, dict):
        _say_state(now)
    table(
        ("when", "who", "what", "stage", "grounds"),
        [
            [
                when(record.get("at_s")), record.get("actor"), record.get("kind"),
                _number_of(record.get("stage")), pairs(_grounds(record.get("body"))),
            ]
            for record in (records if isinstance(records, list) else [])
            if isinstance(record, dict)
        ],
    )  # fmt: skip


def _add_decision(name: str, text: str) -> None:
    """Add the command of a decision that takes nothing but the rollout."""

    @app.command(name, help=text)
    def decide(
        *,
        rollout: Rollout,
        expected: Expected = None,
        url: Url = None,
        token_file: TokenFile = None,
        config: Config = None,
        json: Json = False,
    ) -> None:
        _decide(
            name,
            rollout,
            expected=expected,
            url=url,
            token_file=token_file,
            config=config,
            json=json,
        )


_add_decision("approve", "Let a rollout that awaits approval run.")
_add_decision("pause", "Admit no further device; those on the way go on.")


@app.command()
def resume(
    *,
    rollout: Rollout,
    expected: Expected = None,
    accept: Annotated[
        bool, typer.Option(help="Take the current stage as passed, without proof.")
    ] = False,
    url: Url = None,
    token_file: TokenFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Go on after a pause."""
    extra: dict[str, str] = {"accept": "true"} if accept else {}
    _decide(
        "resume",
        rollout,
        expected=expected,
        url=url,
        token_file=token_file,
        config=config,
        json=json,
        extra=extra,
    )


_add_decision("abort", "End it: devices on the way go back, those that committed keep the bundle.")
_add_decision("revert", "End it: every device goes back to what it ran before.")


def _decide(
    decision: str,
    rollout: str,
    *,
    expected: int | None,
    url: str | None,
    token_file: Path | None,
    config: Path | None,
    json: bool,
    extra: dict[str, str] | None = None,
) -> None:
    query: dict[str, str | float | None] = {"expected": expected, **(extra or {})}
    with client(url, token_file, config) as fleet:
        found = fleet.post("rollouts", rollout, decision, query=query)
    if json:
        print_json(found)
    else:
        _say_state(found)


def _say_state(found: "JsonObject") -> None:
    say(
        f"rollout {found['id']} is {found['state']} (revision {found['revision']}, stage"
        f" {found['stage']}): {found['committed']} of {found['size']} committed,"
        f" {found['failed']} failed, {found['unreachable']} unreachable; {found['reason']}"
    )


def _number_of(stage: object) -> object:
    """Return the number that people count by; the interface counts stages from 0."""
    return stage + 1 if isinstance(stage, int) else stage


def _grounds(body: object) -> object:
    """Return a record's figures without what only a machine needs to recompute it."""
    if not isinstance(body, dict):
        return body
    shown = {key: item for key, item in body.items() if key not in {"salt", "policy_version"}}
    if isinstance(tally := shown.get("tally"), dict):
        shown["tally"] = {key: count for key, count in tally.items() if count}
    return shown


def _spec(policy: Path | None, overrides: dict[str, object]) -> "RolloutSpec":
    from fleet.rollouts.spec import parse_spec, read_spec  # noqa: PLC0415  # help stays fast

    given = {key: jsonlib.dumps(value) for key, value in overrides.items() if value is not None}
    if policy is not None:
        return read_spec(policy, overrides=given)
    return parse_spec(b"", name="flags", overrides=given)


def _stages(
    canary: int | None,
    stages: str | None,
    soak: str | None,
    max_in_flight: int | None,
    timeout: str | None,
) -> object:
    from fleet.rollouts.spec import staged  # noqa: PLC0415

    try:
        percents = [float(word) for word in (stages or "100").split(",")]
        soak_s = duration_of(soak or "0s", "--soak")
        timeout_s = duration_of(timeout or "1h", "--attempt-timeout")
    except ValueError as error:
        raise UsageError(f"--stages, --soak or --attempt-timeout: {error}") from error
    return codec.plain(
        staged(
            canary=canary,
            percents=percents,
            soak=soak_s,
            max_in_flight=max_in_flight or 100,
            attempt_timeout=timeout_s,
        )
    )
