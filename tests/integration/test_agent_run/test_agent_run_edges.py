"""The agent's edges: packed bundles and keys, systemd, the local API, no network, the benchmark."""

import http.client
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgeops.bundle import open_folder, pack
from edgeops.codec import canonical
from edgeops.contracts.credential import Credential
from edgeops.testing import models
from edgeops.testing.bundles import make_bundle
from edgeops.trust import SigningKey
from tests.integration.test_agent_run.home import (
    CHECKOUT,
    Home,
    eventually,
    number,
    write_video,
)

LOOPED = "belt: {type: video, path: belt.avi, realtime: true, loop: true}"


@pytest.fixture
def signed(home: Home) -> SigningKey:
    """Replace the bundle by a packed one signed with a key of ours."""
    key = SigningKey.generate()
    folder = home.folder / "source"
    make_bundle(
        folder,
        task=models.COLOR_TASK,
        input=models.COLOR_INPUT,
        key=key,
        onnx_path=models.color_classifier(home.folder / "c.onnx"),
    )
    (home.folder / "bundle").unlink()
    pack(open_folder(folder), home.folder / "color.edgeops")
    text = home.config.read_text().replace("bundle: bundle", "bundle: color.edgeops")
    home.config.write_text(text + "trust: {release: [release.pub]}\n")
    return key


def test_a_packed_bundle_runs_where_its_key_is_trusted(home: Home, signed: SigningKey) -> None:
    signed.save(home.folder / "release.key", home.folder / "release.pub")

    assert home.run_once()["alerts"] == {"red": 2}
    assert home.run_once()["alerts"] == {"red": 2}
    assert len(list((home.state / "local").iterdir())) == 1


@pytest.mark.usefixtures("signed")
def test_a_bundle_signed_by_a_foreign_key_is_refused(home: Home) -> None:
    SigningKey.generate().save(home.folder / "other.key", home.folder / "release.pub")

    done = home.call("run", "--once")

    assert done.returncode == 77
    assert home.call("check").returncode == 0, "keys and bundle are whole, each for itself"


def test_without_a_network_the_device_works_and_keeps_everything(
    home: Home, signed: SigningKey
) -> None:
    signed.save(home.folder / "release.key", home.folder / "release.pub")
    SigningKey.generate().save(home.folder / "d.key", home.folder / "director.pub")
    credential = Credential(tenant="default", device="bench-1", secret="0123456789abcdef")
    (home.folder / "credential.json").write_bytes(canonical(credential))
    home.write_config(
        sources=LOOPED,
        pipelines=(
            "belt: {source: belt, model: vis, window: 1s}\n  empty: {source: belt, model: remote}"
        ),
        more=(
            'fleet: {url: "http://127.0.0.1:9", mqtt: "127.0.0.1:9"}\n'
            "trust: {release: [release.pub], director: [director.pub]}"
        ),
    )
    text = home.config.read_text().replace("bundle: bundle", "bundle: color.edgeops")
    home.config.write_text(text.replace("models:\n", "models:\n  remote: {slot: main}\n"))
    write_video(home.folder / "belt.avi", [("green", 1), ("red", 2)])

    with home.running() as agent:
        eventually(lambda: len(home.events()) >= 1)
        eventually(lambda: number(agent.pipeline().get("windows", 0)) >= 2)
        status = agent.status()
        took_s = agent.stop()

    assert status is not None
    states = {p["name"]: p["state"] for p in status["pipelines"]}  # type: ignore[attr-defined]
    assert states == {"belt": "running", "empty": "waiting"}
    assert status["link"]["connected"] is False  # type: ignore[index]  # JSON
    slot = status["slots"][0]  # type: ignore[index]  # JSON
    assert (slot["slot"], slot["state"]) == ("main", "idle")
    outbox = status["outbox"]
    assert outbox["alerts_held"] >= 1  # type: ignore[index]  # JSON
    assert outbox["windows_held"] >= 1  # type: ignore[index]  # JSON
    assert took_s < 5.0


def test_a_credential_of_another_device_is_refused(home: Home) -> None:
    test_keys = SigningKey.generate()
    test_keys.save(home.folder / "r.key", home.folder / "release.pub")
    credential = Credential(tenant="default", device="other", secret="0123456789abcdef")
    (home.folder / "credential.json").write_bytes(canonical(credential))
    home.write_config(more='fleet: {url: "http://127.0.0.1:9", mqtt: "127.0.0.1:9"}')

    done = home.call("run")

    assert done.returncode == 65
    assert "is for default/other" in done.stderr.splitlines()[-1]
    assert "0123456789abcdef" not in done.stderr


def test_systemd_hears_that_the_agent_is_ready_alive_and_stopping(home: Home) -> None:
    home.write_config(sources=LOOPED)
    address = str(home.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(address)
        end.settimeout(20)
        os.environ["NOTIFY_SOCKET"] = address
        os.environ["WATCHDOG_USEC"] = "1000000"
        try:
            with home.running() as agent:
                heard = [end.recv(100) for _ in range(3)]
                agent.stop()
        finally:
            del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]
        end.setblocking(False)
        while heard[-1] != b"STOPPING=1":
            heard.append(end.recv(100))

    assert heard[0] == b"READY=1"
    assert set(heard[1:-1]) == {b"WATCHDOG=1"}


def test_the_local_api_answers_loopback_names_alone(home: Home) -> None:
    home.write_config(sources=LOOPED)
    with home.running() as agent:
        eventually(lambda: agent.status() is not None)
        endpoint = json.loads((home.state / "api.json").read_text())

        def ask(path: str, host: str) -> tuple[int, dict[str, object]]:
            line = http.client.HTTPConnection(endpoint["host"], endpoint["port"], timeout=5)
            line.request("GET", path, headers={"Host": host})
            answer = line.getresponse()
            body: dict[str, object] = json.loads(answer.read())
            line.close()
            return answer.status, body

        assert ask("/v1/status", "localhost:1")[0] == 200
        assert ask("/v1/status", "evil.example:1")[0] == 403
        assert ask("/v1/none", "127.0.0.1")[0] == 404
        assert "alerts" in ask("/v1/alerts?limit=x", "127.0.0.1")[1]
        text = home.call("status")

    assert text.returncode == 0
    assert text.stdout.splitlines()[1].startswith("pipeline belt: running, tiny 1.0.0")


def test_the_benchmark_measures_three_loops(color_bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent.benchmark", str(color_bundle), "--seconds", "3", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=CHECKOUT,
    )

    assert done.returncode == 0, done.stderr
    cost = json.loads(done.stdout)
    assert cost["variant"] == "onnx-float32"
    assert min(cost["bare_fps"], cost["loop_fps"], cost["pipeline_fps"]) > 100
    assert cost["ratio"] == pytest.approx(cost["pipeline_fps"] / cost["bare_fps"])
    assert cost["bare_fps"] > cost["pipeline_fps"]
