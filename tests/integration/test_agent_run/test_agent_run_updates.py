"""Updates in the whole agent: real pipes, real updater, a server that signs; no broker at all."""

from pathlib import Path

import pytest

from edgeops.bundle import Bundle
from edgeops.codec import canonical
from edgeops.contracts.credential import Credential
from edgeops.contracts.update import Assignment, Probation
from edgeops.testing import models
from edgeops.testing.bundles import make_bundle
from edgeops.trust import SigningKey
from tests.emulation.fleet_server import FleetServer
from tests.integration.test_agent_run.home import (
    Home,
    RunningAgent,
    eventually,
    number,
    write_video,
)

CREDENTIAL = Credential(tenant="default", device="bench-1", secret="0123456789abcdef")
QUICK = Probation(s=1.0, frames=30)


def _bundle(folder: Path, key: SigningKey, *, serial: int, turn: int = 0) -> Bundle:
    model = color_model(folder, serial, turn)
    return make_bundle(
        folder / f"v{serial}",
        task=models.COLOR_TASK,
        input=models.COLOR_INPUT,
        key=key,
        onnx_path=model,
        version=f"{serial}.0.0",
        serial=serial,
    )


def color_model(folder: Path, serial: int, turn: int) -> Path:
    return models.color_classifier(folder / f"v{serial}.onnx", turn=turn, sharpness=10.0 + serial)


def _slot(agent: RunningAgent) -> dict[str, object]:
    status = agent.status() or {}
    slots = status.get("slots", [])
    assert isinstance(slots, list)
    return slots[0] if slots else {}


def _has(agent: RunningAgent, gen: int, state: str) -> bool:
    slot = _slot(agent)
    assert (gen, slot.get("state")) != (gen, "fallback"), slot
    return (slot.get("gen"), slot.get("state")) == (gen, state)


def _write_home(home: Home, server: FleetServer, key: SigningKey) -> None:
    key.save(home.folder / "release.key", home.folder / "release.pub")
    server.director.save(home.folder / "director.key", home.folder / "director.pub")
    (home.folder / "credential.json").write_bytes(canonical(CREDENTIAL))
    # Scenes change often, so that any second holds the same mix of labels.
    write_video(home.folder / "belt.avi", [("red", 0.4), ("green", 0.1)] * 8, fps=30)
    home.write_config(
        sources="belt: {type: video, path: belt.avi, realtime: true, loop: true}",
        more=(
            f'fleet: {{url: "{server.url}", mqtt: "127.0.0.1:9", reconcile: 1s}}\n'
            "trust: {release: [release.pub], director: [director.pub]}\n"
            "updates: {behaviour: {max_label_shift: 0.3, min_frames: 30}}"
        ),
    )
    home.config.write_text(home.config.read_text().replace("bundle: bundle", "slot: main"))


@pytest.mark.slow
def test_a_good_bundle_is_committed_and_a_worse_one_rolled_back_without_a_gap(
    home: Home, tmp_path: Path
) -> None:
    key = SigningKey.generate()
    made = tmp_path / "made"
    made.mkdir()
    first, second = (_bundle(made, key, serial=serial) for serial in (1, 2))
    worse = _bundle(made, key, serial=3, turn=1)
    with FleetServer(CREDENTIAL) as server:
        server.publish(first, second, worse)
        _write_home(home, server, key)

        def assign(bundle: Bundle, gen: int) -> None:
            server.assign(
                Assignment(
                    device="bench-1", slot="main", gen=gen, bundle=bundle.digest, probation=QUICK
                )
            )

        with home.running() as agent:
            eventually(lambda: agent.pipeline().get("state") == "waiting")
            assign(first, 1)
            eventually(lambda: _has(agent, 1, "committed"), within=60)
            assign(second, 2)
            eventually(lambda: _has(agent, 2, "committed"), within=60)
            before = number(agent.pipeline()["frames"])
            eventually(lambda: number(agent.pipeline()["frames"]) > before + 150, within=60)
            assign(worse, 3)
            eventually(lambda: _has(agent, 3, "rolled-back"), within=60)
            slot, pipeline = _slot(agent), agent.pipeline()
            agent.stop()

        with home.running() as agent:
            eventually(lambda: number(agent.pipeline().get("frames", 0)) > 3)
            again = agent.pipeline()
            took_s = agent.stop()

    assert slot["running"] == second.digest
    assert slot["reason"] == "behaviour", slot
    assert pipeline["model"]["digest"] == second.digest  # type: ignore[index]  # JSON
    assert (pipeline["restarts"], pipeline["errors"], pipeline["bad_outputs"]) == (0, 0, 0)
    assert again["model"]["digest"] == second.digest  # type: ignore[index]  # JSON
    assert took_s < 5.0
    assert not any("Traceback" in line for line in agent.log().splitlines())
