"""A broker that somebody else runs: its files come from ``broker-config``."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.broker.child import free_port
from fleet.broker.mosquitto import find_mosquitto
from tests.integration.fleet_device import EmulatedDevice
from tests.integration.fleet_process import FleetProcess, until


@contextmanager
def foreign_broker(kind: str, folder: Path, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """A broker outside the server's care, on the files that ``broker-config`` wrote."""
    if kind == "mosquitto":
        program = find_mosquitto()
        assert program is not None
        words = [str(program), "-c", str(folder / "mosquitto/mosquitto.conf")]
    else:
        words = [
            *(sys.executable, "-m", "fleet.broker", "--listen", address),
            *("--passwd", str(folder / "passwd"), "--acl", str(folder / "acl")),
        ]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(
    "kind",
    [
        "builtin",
        pytest.param(
            "mosquitto",
            marks=[
                pytest.mark.mosquitto,
                pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed"),
            ],
        ),
    ],
)
def test_a_foreign_broker_serves_devices_enrolled_before_and_after(
    tmp_path: Path, kind: str
) -> None:
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    (tmp_path / "password").write_text("a-password-of-some-length\n")
    broker = {"kind": "external", "address": address, "password_file": "password"}
    server = FleetProcess(tmp_path, broker)
    (tmp_path / "fleet.yaml").write_text(
        f"state_dir: state\nbroker: {{kind: external, address: '{address}',"
        " password_file: password}\n"
    )
    files = tmp_path / "broker-files"
    made = server.cli("broker-config", "--out", str(files), "--listen", address)
    assert made.returncode == 0, made.stderr
    with foreign_broker(kind, files, address) as process:
        try:
            server.start()
            assert server.endpoints.broker == "external"
            credential = server.enrol("d1")
            again = server.cli("broker-config", "--out", str(files), "--listen", address)
            assert again.returncode == 0, again.stderr
            process.send_signal(signal.SIGHUP)
            device = EmulatedDevice(server, credential)
            try:
                device.connect()
                device.make_windows(5)
                device.settle()
            finally:
                device.close()
            assert server.counts()["windows"] == 5
        finally:
            server.stop()
        assert process.poll() is None, "the server does not end a broker that is not its own"


def test_a_wrong_password_ends_with_75_and_a_sentence(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    (tmp_path / "password").write_text("a-password-of-some-length\n")
    (tmp_path / "fleet.yaml").write_text(
        f"state_dir: state\nbroker: {{kind: external, address: '{address}',"
        " password_file: password}\napi: {listen: '127.0.0.1:0'}\n"
        "device_http: {listen: '127.0.0.1:0'}\n"
    )
    server = FleetProcess(tmp_path, {})
    files = tmp_path / "broker-files"
    server.cli("broker-config", "--out", str(files), "--listen", address)
    (tmp_path / "password").write_text("another-password-of-some-length\n")
    with foreign_broker("builtin", files, address):
        refused = server.cli("serve")

    assert refused.returncode == 75
    assert "refuses the account" in refused.stderr
    until(lambda: not (server.state / "endpoints.json").exists(), "nothing is left behind")
