"""The end of the story: what the devices say they did against what the server has."""

import json

from edgeops.codec import JsonValue
from edgeops.demo import programs
from edgeops.demo.answers import at, listed, mapping, number, text
from edgeops.demo.plant import Device
from edgeops.demo.story import Stage, frames_of, waiting_of
from edgeops.demo.timeline import Counts
from edgeops.errors import CheckFailedError

MAX_ALERTS = "1000"


def reckon(stage: Stage) -> Counts:
    """Stop the agents, then compare both sides, event by event and window by window.

    Raises:
        CheckFailedError: Something was lost or is there twice.
    """
    stage.wait("the outboxes run dry", lambda: all(_is_dry(d) for d in _devices(stage)))
    stage.timeline.doing = "stopping the agents, counting both sides"
    for device in _devices(stage):
        stage.expected_dead.add(device.id)
        if device.daemon is not None:
            device.daemon.ask()
    for device in _devices(stage):
        if device.daemon is not None and device.daemon.stop() != 0:
            raise CheckFailedError(
                f"{device.id} did not stop cleanly: {device.daemon.last_words()}"
            )
    runs = {run_key: run for device in _devices(stage) for run_key, run in _runs(device).items()}
    killed = {key: status for key, status in stage.seen.items() if key not in runs}

    stored_windows, gaps = _windows_at_server(stage)
    made_windows = sum(int(number(at(run, "outbox"), "windows_stored")) for run in runs.values())
    held_windows = sum(int(number(at(run, "outbox"), "windows_held")) for run in runs.values())
    # A killed agent left no last word: what it stored is what its rows' numbers at the server say.
    killed_windows = sum(_windows_of_boot(stage, *key) for key in killed)
    lost_windows = max(0, made_windows - held_windows + killed_windows - stored_windows) + gaps

    told = stage.pool.map(lambda device: _alert_ids(stage, device), _devices(stage))
    raised = {name for names in told for name in names}
    received = stage.alerts_at_server()
    waiting = sum(int(number(at(run, "outbox"), "alerts_held")) for run in runs.values())
    server = mapping(stage.plant.ask("/api/v1/counts"), "counts")
    rows = int(number(server, "alerts_raised") + number(server, "alerts_cleared"))

    committed, failed = _updates(stage)
    counts = Counts(
        devices=len(stage.plant.devices),
        frames=sum(int(number(run, "frames")) for run in runs.values())
        + sum(frames_of(status) for status in killed.values()),
        alerts_raised=len(raised),
        alerts_received=len(received),
        windows_sent=made_windows - held_windows + killed_windows,
        windows_stored=stored_windows,
        duplicates=rows - len(received),
        lost=lost_windows + max(0, len(raised - received) - waiting),
        updates=committed,
        rollbacks=failed,
    )
    if counts.lost or counts.duplicates or not raised or not stored_windows:
        raise CheckFailedError(
            f"{counts.lost} lost, {counts.duplicates} twice, of {len(raised)} alert events"
            f" and {counts.windows_sent} windows"
        )
    return counts


def _devices(stage: Stage) -> list[Device]:
    return list(stage.plant.devices.values())


def _is_dry(device: Device) -> bool:
    """A device that is alive makes windows for ever: dry means no more than one is under way."""
    status = device.status()
    return status is not None and waiting_of(status) <= 1


def _runs(device: Device) -> dict[tuple[str, str], dict[str, JsonValue]]:
    """Return what each clean run of an agent said of itself at its end, by boot."""
    lines = (device.folder / "runs.jsonl").read_text().splitlines()
    runs = [mapping(json.loads(line), device.id) for line in lines if line]
    return {(device.id, text(run, "boot")): run for run in runs}


def _streams(stage: Stage, device: str) -> list[dict[str, JsonValue]]:
    found = stage.plant.ask(f"/api/v1/devices/{device}/streams")
    return [mapping(row, "stream") for row in found] if isinstance(found, list) else []


def _windows_at_server(stage: Stage) -> tuple[int, int]:
    """Return (windows stored, numbers missing between the first and the last of a stream)."""
    stored = gaps = 0
    for device in _devices(stage):
        for row in _streams(stage, device.id):
            windows, highest = int(number(row, "windows")), int(number(row, "highest"))
            stored += windows
            gaps += max(0, highest - int(number(row, "shed")) - windows)
    return stored, gaps


def _windows_of_boot(stage: Stage, device: str, boot: str) -> int:
    rows = [row for row in _streams(stage, device) if row.get("boot") == boot]
    return int(sum(number(row, "highest") for row in rows))


def _alert_ids(stage: Stage, device: Device) -> set[str]:
    """Return ``device/event`` of every alert event on the device's own disk."""
    _, answer = programs.run(
        *("agent", "alerts", "--config", str(device.config), "--limit", MAX_ALERTS, "--json"),
        cwd=device.folder,
        config_home=stage.workshop.config_home,
    )
    rows = listed(mapping(answer, "edgeops agent alerts"), "alerts")
    return {f"{device.id}/{text(mapping(row, 'alert'), 'event_id')}" for row in rows}


def _updates(stage: Stage) -> tuple[int, int]:
    found = [stage.rollout(title) for title in stage.rollouts]
    committed = int(sum(number(one, "committed") for one in found))
    return committed, int(sum(number(one, "failed") for one in found))
