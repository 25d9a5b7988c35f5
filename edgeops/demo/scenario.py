"""The story, step by step. A step that does not happen raises and ends the demo."""

import json
from collections.abc import Callable
from typing import Final

from edgeops.codec import JsonValue
from edgeops.demo.answers import mapping, number, text
from edgeops.demo.plant import Device
from edgeops.demo.story import (
    Stage,
    frames_of,
    is_connected,
    raised_of,
    slot_of,
    waiting_of,
)
from edgeops.demo.timeline import ModelFigures
from edgeops.demo.workshop import figures
from edgeops.errors import CheckFailedError, TransportError

VISION: Final = "vision"
VIBRATION: Final = "vibration"
OFFLINE: Final = "belt-2"
KILLED: Final = "belt-3"
SLOW_BYTES_PER_S: Final = 20_000.0
MIN_OFFLINE_FRAMES: Final = 40

CANARY_FIRST: Final[tuple[dict[str, object], ...]] = (
    {"count": 1, "soak": "500ms", "attempt_timeout": "40s"},
    {"percent": 50, "soak": "500ms", "attempt_timeout": "40s"},
    {"percent": 100, "attempt_timeout": "40s"},
)


def convert(stage: Stage, *, broker: str) -> list[ModelFigures]:
    """Convert the two models of version 1 while the server starts; the rest follows later."""
    stage.timeline.doing = "making data and keys, converting two models"
    preparing = stage.pool.submit(stage.workshop.prepare)
    stage.wait("making data and keys", preparing.done, limit_s=60)
    preparing.result()
    stage.plant.start_server(broker=broker)  # it needs the release key that was just made
    stage.order("visual", model="visual-v1.onnx", version="1.0.0", serial=1)
    stage.order("bearing", model="bearing-v1.onnx", version="1.0.0", serial=1)
    made = [stage.made("visual-1.0.0"), stage.made("bearing-1.0.0")]
    found = [figures(one) for one in made]
    words = "; ".join(
        f"{one.name} {one.metric} {one.float:.3f} float, {one.int8:.3f} int8,"
        f" {one.float_bytes // 1000} → {one.int8_bytes // 1000} kB"
        for one in found
    )
    stage.done("convert", words)
    return found


def serve(stage: Stage) -> None:
    """Wait for server and broker."""
    stage.wait("starting server and broker", stage.plant.server_ready)
    stage.done("serve", f"server with {stage.plant.endpoints['broker']} broker and SQLite is ready")


def enrol(stage: Stage, devices: int) -> None:
    """Enrol every device with a credential of its own and start its agent."""
    motors = max(1, devices // 3)
    wanted = [(f"belt-{i + 1}", VISION, "belt") for i in range(devices - motors)]
    wanted += [(f"motor-{i + 1}", VIBRATION, "motor") for i in range(motors)]
    stage.timeline.doing = "enrolling devices"
    made = [
        stage.pool.submit(
            stage.plant.enrol, name, slot=slot, kind=kind, wired=name in {OFFLINE, KILLED}
        )
        for name, slot, kind in wanted
    ]
    stage.wait("enrolling devices", lambda: all(future.done() for future in made))
    for future in made:
        stage.plant.start(future.result())
    stage.order("visual", model="visual-v2.onnx", version="2.0.0", serial=2)
    stage.order("visual", model="visual-v3.onnx", version="3.0.0", serial=3)

    def all_online() -> bool:
        known = stage.plant.ask("/api/v1/devices")
        rows = [mapping(row, "device") for row in known] if isinstance(known, list) else []
        return sum(row.get("online") is True for row in rows) == devices

    stage.wait("waiting for the agents", all_online)
    stage.done(
        "enrol", f"{devices} devices, one credential each; {devices} agents, one process group each"
    )


def first_rollout(stage: Stage) -> None:
    """Roll version 1 of both models out, canary first."""
    stage.roll_out("visual-1.0.0", slot=VISION, kind="belt", stages=CANARY_FIRST, probation=(2, 20))
    stage.roll_out(
        "bearing-1.0.0", slot=VIBRATION, kind="motor", stages=CANARY_FIRST[::2], probation=(2, 4)
    )
    both = ("visual-1.0.0", "bearing-1.0.0")
    took = stage.wait(
        "rolling out v1: canary, half, all", lambda: all(stage.completed(t) for t in both)
    )
    shares = [int(number(stage.rollout(title), "committed")) for title in both]
    stage.done(
        "roll out v1",
        f"canary, stages, all: {shares[0]} cameras and {shares[1]} sensors committed"
        f" after golden test and probation, {took:.0f} s",
    )


def alert(stage: Stage) -> None:
    """See the first alerts of a camera and of a sensor at the server."""
    kinds = {"belt-", "motor-"}

    def both() -> bool:
        stored = stage.alerts_at_server()
        return all(any(name.startswith(kind) for name in stored) for kind in kinds)

    stage.wait("waiting for alerts of cameras and sensors", both)
    stage.done("infer and alert", f"{len(stage.alerts_at_server())} alert events at the server")


def cut_network(stage: Stage) -> None:
    """Pull one device's cable: it goes on; put it back: everything comes home, once."""
    device = stage.plant.devices[OFFLINE]
    before = _status(device)
    for cable in device.cables.values():
        cable.cut()
    stage.wait("the cable is cut", lambda: not is_connected(_status(device)))
    at_server = stage.alerts_at_server(device)
    cut = _status(device)

    def goes_on() -> bool:
        now = _status(device)
        frames = frames_of(now) - frames_of(cut)
        return frames >= MIN_OFFLINE_FRAMES and raised_of(now) > raised_of(cut)

    stage.wait(f"{OFFLINE} works without a network", goes_on)
    offline = _status(device)
    if stage.alerts_at_server(device) != at_server:
        raise CheckFailedError(f"the server heard {OFFLINE} although its cable was cut")
    kept = waiting_of(offline)
    for cable in device.cables.values():
        cable.restore()

    def came_home() -> bool:
        now = _status(device)
        held = mapping(now.get("outbox"), "outbox")
        raised = {f"{device.id}/{event}" for event in _events(device)}
        return (
            is_connected(now)
            and number(held, "alerts_held") == 0
            and raised <= stage.alerts_at_server(device)
        )

    took = stage.wait("the backlog comes home", came_home)
    now = _status(device)
    stage.done(
        "cut the network",
        f"{OFFLINE} inferred {frames_of(offline) - frames_of(cut)} frames and raised"
        f" {raised_of(offline) - raised_of(cut)} alert(s) offline; {kept} rows kept,"
        f" all at the server {took:.1f} s after reconnecting"
        f" ({frames_of(now) - frames_of(before)} frames without a pause)",
    )


def bad_model(stage: Stage) -> None:
    """Push a version that is honestly worse: the canary takes it back, the gate stops."""
    title = "visual-2.0.0"
    good, bad = stage.made("visual-1.0.0").digest, stage.made(title).digest
    worse = figures(stage.made(title))
    stage.roll_out(title, slot=VISION, kind="belt", stages=CANARY_FIRST)
    stage.wait("v2 meets its canary", lambda: text(stage.rollout(title), "state") == "paused")
    found = stage.rollout(title)
    members = stage.plant.ask(f"/api/v1/rollouts/{stage.rollouts[title]}/devices")
    rows = [mapping(row, "member") for row in members] if isinstance(members, list) else []
    tried = [row for row in rows if number(row, "attempt") > 0]
    for row in tried:
        _wait_running(stage, stage.plant.devices[text(row, "device")], good)
    for device in stage.plant.devices.values():
        if device.slot == VISION and slot_of(_status(device), VISION).get("running") == bad:
            raise CheckFailedError(f"{device.id} still runs v2")
    if not tried:
        raise CheckFailedError("v2 stopped before any device tried it")
    reasons = ", ".join(sorted({f"{row['device']}: {row['reason']}" for row in tried}))
    stage.plant.fleet("rollout", "abort", stage.rollouts[title])
    stage.wait("v2 is withdrawn", lambda: text(stage.rollout(title), "state") == "aborted")
    stage.done(
        "stop a bad model",
        f"v2 ({worse.metric} {worse.int8:.2f}) stopped at the canary: {len(tried)} of"
        f" {len(rows)} devices tried it and went back by themselves ({reasons});"
        f" gate: {found.get('reason')}",
    )


def good_model_with_a_kill(stage: Stage) -> None:
    """Push a good version to all, and kill one agent in the middle of its download."""
    title = "visual-3.0.0"
    device = stage.plant.devices[KILLED]
    good, new = stage.made("visual-1.0.0").digest, stage.made(title).digest
    for cable in device.cables.values():
        cable.throttle(SLOW_BYTES_PER_S)
    stage.roll_out(title, slot=VISION, kind="belt", stages=CANARY_FIRST[::2])

    def downloading() -> bool:
        stage.completed(title)  # raises where the rollout has stopped
        fetching = slot_of(_status(device), VISION).get("state") == "fetch"
        return fetching and _partial_bytes(device) > 0

    stage.wait(f"{KILLED} downloads v3 over a slow line", downloading)
    daemon = device.daemon
    if daemon is None:
        raise CheckFailedError(f"{KILLED} has no agent")
    stage.expected_dead.add(KILLED)
    daemon.kill()
    partial = _partial_bytes(device)
    for cable in device.cables.values():
        cable.throttle(None)
    stage.plant.start(device)
    stage.expected_dead.discard(KILLED)
    stage.wait(f"{KILLED} starts again", lambda: device.status() is not None)
    stage.wait(
        f"{KILLED} infers on a whole model",
        lambda: (
            slot_of(_status(device), VISION).get("running") in {good, new}
            and frames_of(_status(device)) > 0
        ),
    )
    first = "v1" if slot_of(_status(device), VISION).get("running") == good else "v3"
    stage.wait("v3 reaches every camera", lambda: stage.completed(title))
    stage.wait(f"{KILLED} runs v3", lambda: slot_of(_status(device), VISION).get("running") == new)
    stage.done(
        "kill in mid-update",
        f"{KILLED} got SIGKILL with {partial / 1000:.1f} kB of a file downloaded, came back on"
        f" {first} and finished the update",
    )
    committed = int(number(stage.rollout(title), "committed"))
    stage.done("roll out v3", f"{committed} cameras committed v3")


STEPS: Final[tuple[tuple[str, Callable[[Stage], None]], ...]] = (
    ("roll out v1", first_rollout),
    ("infer and alert", alert),
    ("cut the network", cut_network),
    ("stop a bad model", bad_model),
    ("kill in mid-update", good_model_with_a_kill),
)


def _wait_running(stage: Stage, device: Device, digest: str) -> None:
    stage.wait(
        f"{device.id} runs {digest[7:15]}…",
        lambda: slot_of(_status(device), VISION).get("running") == digest,
    )


def _partial_bytes(device: Device) -> int:
    """Return the bytes of unfinished downloads on the device's disk."""
    return sum(path.stat().st_size for path in (device.folder / "state").rglob("*.part"))


def _status(device: Device) -> dict[str, JsonValue]:
    """Return the device's status; raises ``TransportError`` (look again) without an answer."""
    status = device.status()
    if status is None:
        raise TransportError(f"{device.id} does not answer")
    return status


def _events(device: Device) -> set[str]:
    """Return the ids of every alert event that a device's own log file holds."""
    path = device.folder / "alerts.jsonl"
    if not path.exists():
        return set()
    return {json.loads(line)["event_id"] for line in path.read_text().splitlines() if line}
