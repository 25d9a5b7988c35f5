"""A real fleet server as a child process, on free ports and a folder of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from edgeops.trust import SigningKey
from fleet.client import FleetClient, Server
from fleet.state import Endpoints, read_endpoints, read_token

START_S = 30.0
STOP_S = 15.0


def until(condition: Callable[[], bool], what: str, *, seconds: float = 15.0) -> None:
    """Wait until ``condition`` holds; fails with ``what`` otherwise."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        pause.wait(0.02)


class FleetProcess:
    """One server; it can be stopped, killed and started again on the same folder and ports.

    Args:
        folder: For ``fleet.yaml``, state and logs.
        broker: Content of the ``broker`` section.
        more: Further lines of ``fleet.yaml``.
    """

    def __init__(self, folder: Path, broker: Mapping[str, str], more: str = "") -> None:
        self.folder = folder
        self.release = SigningKey.generate()
        self.release.save(folder / "release.key", folder / "release.pub")
        self._broker = dict(broker)
        self._more = more
        self._ports = {"api": "127.0.0.1:0", "device_http": "127.0.0.1:0"}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.folder / "fleet.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def endpoints(self) -> Endpoints:
        return read_endpoints(self.state)

    def start(self, *, failpoint: str = "") -> Self:
        """Start the server and wait until it says where it listens."""
        self._write_config()
        variables = {k: v for k, v in os.environ.items() if not k.startswith("EDGEOPS_")}
        if failpoint:
            variables["EDGEOPS_FAILPOINT"] = failpoint
        with (self.folder / "fleet.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edgeops.cli", "fleet", "serve", "--config", self.config],
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=variables,
            )
        try:
            until(self._is_ready, "the server is ready", seconds=START_S)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.log()}") from error
        # A restart listens where devices know it.
        found = self.endpoints
        self._ports = {
            "api": found.api.removeprefix("http://"),
            "device_http": found.device.removeprefix("http://"),
        }
        if "address" not in self._broker:
            self._broker["listen"] = found.mqtt
        return self

    def stop(self) -> int | None:
        """End the server by SIGTERM; return its exit status."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.terminate()
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def kill(self) -> None:
        """End the server as a power cut would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self.wait_dead()

    def wait_dead(self) -> None:
        """Wait until the server has died by itself."""
        process, self._process = self._process, None
        assert process is not None
        assert process.wait(STOP_S) == -signal.SIGKILL
        (self.state / "endpoints.json").unlink(missing_ok=True)

    def client(self) -> FleetClient:
        return FleetClient(Server(self.endpoints.api, read_token(self.state / "admin.token")))

    def counts(self) -> dict[str, int]:
        """Return the counts, those of the counters among them."""
        with self.client() as client:
            found = client.get_object("counts")
        counters = found.pop("counters")
        assert isinstance(counters, dict)
        return {key: int(str(value)) for key, value in {**found, **counters}.items()}

    def enrol(self, name: str, **labels: str) -> dict[str, str]:
        """Enrol a device; return its credential."""
        with self.client() as client:
            answer = client.post("devices", body={"device": name, "labels": {**labels}})
        credential = answer["credential"]
        assert isinstance(credential, dict)
        return {key: str(value) for key, value in credential.items()}

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run an ``edgeops fleet`` command against this server."""
        return subprocess.run(
            [sys.executable, "-m", "edgeops.cli", "fleet", *words, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def log(self) -> str:
        return (self.folder / "fleet.log").read_text()[-4000:]

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the server ended with {self._process.returncode}")
        return (self.state / "endpoints.json").exists()

    def _write_config(self) -> None:
        lines = [
            "state_dir: state",
            f"api: {{listen: '{self._ports['api']}'}}",
            f"device_http: {{listen: '{self._ports['device_http']}'}}",
            f"broker: {json.dumps(self._broker)}",
            "trust: {release: [release.pub]}",
            "tick: 200ms",
            self._more,
        ]
        self.config.write_text("\n".join(lines))


@contextmanager
def fleet_process(
    folder: Path, broker: Mapping[str, str], more: str = "", *, failpoint: str = ""
) -> Iterator[FleetProcess]:
    """A running server, ended with the context."""
    folder.mkdir(exist_ok=True)
    process = FleetProcess(folder, broker, more)
    try:
        yield process.start(failpoint=failpoint)
    finally:
        process.stop()
