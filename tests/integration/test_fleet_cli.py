"""The command line and the operator's interface against a real server."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from edgeops.contracts.credential import load_credential
from edgeops.contracts.update import SlotReport, UpdateState
from edgeops.trust import SigningKey, TrustStore
from tests.integration.fleet_device import connected
from tests.integration.fleet_process import FleetProcess, fleet_process, until
from tests.unit.fleet.registry.test_registry import make_bundle


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetProcess]:
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_process(folder, {"kind": "builtin", "listen": "127.0.0.1:0"}) as process:
        yield process


def test_enrolment_writes_the_folder_that_goes_to_the_device(
    server: FleetProcess, tmp_path: Path
) -> None:
    out = tmp_path / "cam-1"

    done = server.cli(
        "enroll", "cam-1", "--out", str(out), "--site", "plant-7", "--label", "line=3", "--json"
    )

    assert done.returncode == 0, done.stderr
    names = json.loads(done.stdout)["files"]
    assert sorted(names) == sorted(path.name for path in out.iterdir())
    credential = out / "credential.json"
    assert stat.S_IMODE(credential.stat().st_mode) == 0o600
    assert load_credential(credential).device == "cam-1"
    keyid = server.release.public.keyid
    TrustStore.load(release=[out / f"release-{keyid}.pub"], director=[out / "director.pub"])
    config = (out / "agent.yaml").read_text()
    assert 'labels: {"line": "3"}' in config
    assert server.endpoints.device in config
    assert load_credential(credential).secret not in server.log()
    again = server.cli("enroll", "cam-1", "--out", str(out))
    assert again.returncode == 2
    assert "credential.json exists" in again.stderr
    elsewhere = server.cli("enroll", "cam-1", "--out", str(tmp_path / "other"))
    assert elsewhere.returncode == 2
    assert "enrolled already" in elsewhere.stderr
    listed = json.loads(server.cli("devices", "cam-1", "--json").stdout)
    assert (listed["site"], listed["labels"]) == ("plant-7", {"line": "3"})
    assert server.cli("decommission", "cam-1").returncode == 0
    assert server.cli("decommission", "cam-1").returncode == 70
    assert "cam-1" not in server.cli("devices").stdout


def test_a_bundle_of_a_stranger_ends_with_77(server: FleetProcess, tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", key=SigningKey.generate())

    refused = server.cli("models", "push", str(tmp_path / "b"))

    assert refused.returncode == 77
    assert "trusted release key" in refused.stderr
    assert json.loads(server.cli("models", "list", "--json").stdout) == []


def test_a_rollout_reaches_a_device_and_completes_by_its_proof(
    server: FleetProcess, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "b", version="2.0.0", key=server.release)
    pushed = server.cli("models", "push", str(tmp_path / "b"), "--json")
    assert json.loads(pushed.stdout)["created"] is True
    assert (
        json.loads(server.cli("models", "push", str(tmp_path / "b"), "--json").stdout)["created"]
        is False
    )
    with connected(server, "d1") as device:
        device.report(SlotReport(slot="main", gen=0, state=UpdateState.IDLE))
        until(lambda: bool(device.acks), "the report is stored")

        started = server.cli("rollout", "start", "belt@2.0.0", "--device", "d1", "--json")
        assert started.returncode == 0, started.stderr
        rollout = json.loads(started.stdout)["rollout"]["id"]
        until(lambda: bool(device.bells), "the doorbell")
        assert state(server, rollout)["state"] == "running"
        device.report(
            SlotReport(
                slot="main",
                gen=1,
                state=UpdateState.COMMITTED,
                running=bundle.digest,
                rollout=rollout,
                attempt=1,
            )
        )
        until(lambda: state(server, rollout)["state"] == "completed", "the rollout completes")

        shown = json.loads(server.cli("rollout", "show", rollout, "--devices", "--json").stdout)
        assert (shown["committed"], shown["members"][0]["device"]) == (1, "d1")
        told = server.cli("rollout", "explain", rollout, "--json")
        assert told.returncode == 0, told.stderr
        assert len(json.loads(told.stdout)["evidence"]) >= 3
        assert server.cli("rollout", "pause", rollout).returncode == 70
        listed = json.loads(server.cli("devices", "d1", "--json").stdout)
        assert listed["slots"][0]["in_sync"] is True
        device.make_windows(3)
        device.make_alert(1)
        device.settle()
        sums = json.loads(server.cli("telemetry", "--device", "d1", "--json").stdout)
        assert (sums[0]["windows"], sums[0]["figures"]["frames"]["sum"]) == (3, 6)
        alerts = json.loads(server.cli("alerts", "--json").stdout)
        assert [alert["rule"] for alert in alerts] == ["hot"]
        for words in (("devices",), ("alerts",), ("telemetry",), ("counts",), ("rollout", "list")):
            assert server.cli(*words).returncode == 0


def state(server: FleetProcess, rollout: str) -> dict[str, object]:
    with server.client() as client:
        return {**client.get_object("rollouts", rollout)}


def test_the_interface_wants_the_token(server: FleetProcess) -> None:
    pool = urllib3.PoolManager(retries=False)
    api = server.endpoints.api
    token = (server.state / "admin.token").read_text().strip()
    right = {"Authorization": f"Bearer {token}"}
    assert stat.S_IMODE((server.state / "admin.token").stat().st_mode) == 0o600
    for path in ("/api/v1/devices", "/metrics", "/openapi.json", "/api/v1/nothing"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
            refused = pool.request("GET", api + path, headers=headers)
            assert refused.status == 401
            assert refused.headers["Content-Type"] == "application/problem+json"
    assert pool.request("GET", f"{api}/healthz").json()["ok"] is True
    paths = pool.request("GET", f"{api}/openapi.json", headers=right).json()["paths"]
    assert {"/api/v1/devices", "/api/v1/bundles", "/api/v1/rollouts"} <= paths.keys()
    metrics = pool.request("GET", f"{api}/metrics", headers=right).data.decode()
    assert "edgeops_fleet_devices " in metrics
    assert "cam-1" not in metrics
    pool.clear()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "devices", b"{", 422, "contract"),
        ("POST", "devices", b'{"device": "a b"}', 422, "contract"),
        ("POST", "devices", b'{"device": "edgeops-server"}', 400, "usage"),
        ("POST", "devices", b"x" * 2_000_000, 413, "contract"),
        ("GET", "devices/ghost", b"", 404, "not-found"),
        ("GET", "devices?limit=0", b"", 422, "contract"),
        ("GET", "bundles/ghost", b"", 400, "usage"),
        ("POST", "bundles", b"not a tar", 422, "contract"),
        ("POST", "rollouts", b'{"bundel": 1}', 422, "contract"),
        ("POST", "rollouts/ro-1/pause", b"", 400, "usage"),
        ("DELETE", "devices", b"", 405, "http"),
    ],
)
def test_problems_have_a_code_and_a_sentence(
    *, server: FleetProcess, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    token = (server.state / "admin.token").read_text().strip()
    pool = urllib3.PoolManager(retries=False)

    answer = pool.request(
        method,
        f"{server.endpoints.api}/api/v1/{path}",
        body=body or None,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )

    problem = answer.json()
    pool.clear()
    assert (answer.status, problem["status"], problem["code"]) == (status, status, code)
    assert problem["detail"]


def test_a_second_server_on_the_same_folder_is_refused(server: FleetProcess) -> None:
    refused = server.cli("serve")

    assert refused.returncode == 74
    assert "another fleet server" in refused.stderr
    assert server.counts()["devices"] >= 0, "the first one goes on"


def test_without_a_server_the_status_is_75(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("state_dir: nowhere\n")
    variables = {k: v for k, v in os.environ.items() if not k.startswith("EDGEOPS_")}

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edgeops.cli", "fleet", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**variables, **more},
        )

    nobody = run("devices", "--config", str(tmp_path / "fleet.yaml"))
    assert nobody.returncode == 75
    assert "edgeops fleet serve" in nobody.stderr
    (tmp_path / "token").write_text("t" * 30)
    dead = run(
        "devices",
        EDGEOPS_FLEET_URL="http://127.0.0.1:9",
        EDGEOPS_FLEET_TOKEN_FILE=str(tmp_path / "token"),
    )
    assert dead.returncode == 75
    assert "cannot reach" in dead.stderr


def test_an_address_that_others_reach_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("api: {listen: '0.0.0.0:0'}\n")

    refused = subprocess.run(
        [sys.executable, "-m", "edgeops.cli", "fleet", "serve", "--config", "fleet.yaml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )

    assert refused.returncode == 2
    assert "allow_remote" in refused.stderr
    assert not (tmp_path / "edgeops-fleet").exists()
