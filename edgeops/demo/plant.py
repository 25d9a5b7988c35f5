"""The demo's plant: one server, and devices that each run the real agent in its own process."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import yaml

from edgeops.codec import JsonValue
from edgeops.demo import programs
from edgeops.demo.answers import listed, mapping, text
from edgeops.demo.cable import Cable
from edgeops.demo.http_json import get_json
from edgeops.demo.programs import Daemon
from edgeops.errors import TransportError
from edgeops.yamldoc import plain

RECORDING_S: Final = 16.0
WINDOW_S: Final = 1.0


@dataclass(slots=True)
class Device:
    """One emulated device: a folder, a recording, and the agent that runs on it.

    Attributes:
        slot: The slot that its one pipeline runs.
        cables: Its own wires to broker and server, where the demo means to cut them.
    """

    id: str
    slot: str
    folder: Path
    daemon: Daemon | None = None
    cables: dict[str, Cable] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """Return its ``agent.yaml``."""
        return self.folder / "agent.yaml"

    def status(self) -> dict[str, JsonValue] | None:
        """Return what its local API says now; ``None`` while it does not answer."""
        try:
            address = json.loads((self.folder / "state" / "api.json").read_text())
            return mapping(
                get_json(f"http://{address['host']}:{address['port']}/v1/status"), self.id
            )
        except (OSError, json.JSONDecodeError, KeyError, TransportError):
            return None


class Plant:
    """The server and the devices, inside ``folder``; ``close`` ends every process."""

    def __init__(self, folder: Path, *, release_key: Path, config_home: Path) -> None:
        self.folder = folder
        self.devices: dict[str, Device] = {}
        self.daemons: dict[str, Daemon] = {}
        self.endpoints: dict[str, str] = {}
        self._release_key = release_key
        self._config_home = config_home
        self._token = ""
        self._resources = contextlib.ExitStack()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """End every process and cable on the way out, whatever happened."""
        with self._resources, programs.ended(self.daemons):
            yield

    # -- the server ------------------------------------------------------------------------

    @property
    def server_state(self) -> Path:
        """Return the server's state folder."""
        return self.folder / "fleet"

    def start_server(self, *, broker: str) -> None:
        """Start ``edgeops fleet serve`` with a configuration of its own on free ports."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = {
            "schema": 1,
            "state_dir": str(self.server_state),
            "api": {"listen": "127.0.0.1:0"},
            "device_http": {"listen": "127.0.0.1:0"},
            "broker": {"kind": broker, "listen": "127.0.0.1:0"},
            "trust": {"release": [str(self._release_key)]},
            "tick": "250ms",
        }
        path = self.folder / "fleet.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        self.daemons["fleet"] = programs.start(
            "fleet", "fleet", "serve", "--config", str(path), cwd=self.folder,
            log=self.folder / "fleet.log",
        )  # fmt: skip

    def server_ready(self) -> bool:
        """Return whether the server listens on all its ports."""
        try:
            found = json.loads((self.server_state / "endpoints.json").read_text())
            self._token = (self.server_state / "admin.token").read_text().strip()
        except (OSError, json.JSONDecodeError):
            return False
        self.endpoints = {key: str(value) for key, value in found.items()}
        try:
            get_json(self.endpoints["api"] + "/healthz")
        except TransportError:
            return False
        return True

    def ask(self, path: str) -> JsonValue:
        """Return the operator API's answer; raises ``TransportError``."""
        return get_json(self.endpoints["api"] + path, token=self._token)

    def fleet(self, *words: str) -> dict[str, JsonValue]:
        """Run ``edgeops fleet WORDS --json`` and return its answer."""
        _, answer = programs.run(
            *("fleet", *words, "--config", str(self.folder / "fleet.yaml"), "--json"),
            cwd=self.folder,
            config_home=self._config_home,
        )
        return mapping(answer, f"edgeops fleet {words[0]}")

    # -- devices -----------------------------------------------------------------------------

    def enrol(self, device: str, *, slot: str, kind: str, wired: bool = False) -> Device:
        """Enrol a device and write its recording and configuration.

        Args:
            device: Its id.
            slot: Slot of its one pipeline.
            kind: ``belt`` (camera) or ``motor`` (vibration sensor); also its label.
            wired: Give it cables of its own, which can be cut.
        """
        folder = self.folder / "devices" / device
        self.fleet(
            *("enroll", device, "--out", str(folder), "--label", f"kind={kind}"),
            *("--site", "demo-plant", "--board", "emulated"),
        )
        made = Device(device, slot, folder)
        if wired:
            made.cables = {
                "url": self._cable(self.endpoints["device"]),
                "mqtt": self._cable("mqtt://" + self.endpoints["mqtt"]),
            }
        seed = 5 + len(self.devices)
        self.devices[device] = made
        document = plain(made.config.read_bytes(), name=made.config.name)
        sections = mapping(_as_json(document), str(made.config))
        work = _belt(folder, seed, slot) if kind == "belt" else _motor(folder, seed, slot)
        sections.update(_as_mapping(work))
        fleet = mapping(sections.get("fleet"), "fleet section")
        fleet["reconcile"] = "20s"
        if wired:
            fleet["url"] = f"http://127.0.0.1:{made.cables['url'].port}"
            fleet["mqtt"] = f"127.0.0.1:{made.cables['mqtt'].port}"
        made.config.write_text(yaml.safe_dump(sections, sort_keys=False))
        return made

    def start(self, device: Device) -> None:
        """Start the device's agent."""
        (device.folder / "state" / "api.json").unlink(missing_ok=True)
        device.daemon = programs.start(
            device.id, "agent", "run", "--config", str(device.config), "--json",
            cwd=device.folder, log=device.folder / "agent.log", out=device.folder / "runs.jsonl",
        )  # fmt: skip
        self.daemons[device.id] = device.daemon

    def view(self, device: Device) -> dict[str, JsonValue]:
        """Return what the server knows of a device."""
        return mapping(self.ask(f"/api/v1/devices/{device.id}"), device.id)

    def slot_view(self, device: Device) -> dict[str, JsonValue]:
        """Return the device's slot as the server knows it; empty before its first report."""
        for entry in listed(self.view(device), "slots"):
            slot = mapping(entry, "slot")
            if text(slot, "slot") == device.slot:
                return slot
        return {}

    def _cable(self, address: str) -> Cable:
        parts = urlsplit(address)
        return self._resources.enter_context(Cable((parts.hostname or "", parts.port or 0)))


def _belt(folder: Path, seed: int, slot: str) -> Mapping[str, object]:
    from edgeops.demo import render  # noqa: PLC0415  # NumPy and OpenCV load when used

    # A part passes every 4 s from 2 s on: the second and the fourth of four are flawed.
    render.write_belt_video(
        folder / "belt.avi", seed=seed, seconds=RECORDING_S, defects=[(5.0, 7.0), (13.0, 15.0)]
    )
    return {
        "sources": {
            "camera": {"type": "video", "path": "belt.avi", "realtime": True, "loop": True}
        },
        "models": {"inspector": {"slot": slot}},
        "pipelines": {"belt": {"source": "camera", "model": "inspector", "window": f"{WINDOW_S}s"}},
        "rules": {
            "defect": {
                "pipeline": "belt",
                "when": "score(defect) > 0.6",
                "for": "400ms",
                "clear": "score(defect) < 0.4",
                "clear_for": "500ms",
                "severity": "high",
                "do": ["log"],
            }
        },
        **_common(),
    }


def _motor(folder: Path, seed: int, slot: str) -> Mapping[str, object]:
    from edgeops.demo import render  # noqa: PLC0415  # NumPy and OpenCV load when used

    render.write_vibration_csv(
        folder / "vibration.csv", seed=seed, seconds=RECORDING_S, faults=[(5.0, 11.0)]
    )
    source = {
        "type": "csv",
        "path": "vibration.csv",
        "columns": ["accel_g"],
        "time_column": "t",
        "window": 1024,
        "step": 512,
        "realtime": True,
        "loop": True,
    }
    return {
        "sources": {"accelerometer": source},
        "models": {"bearing": {"slot": slot}},
        "pipelines": {
            "vibration": {"source": "accelerometer", "model": "bearing", "window": f"{WINDOW_S}s"}
        },
        "rules": {
            "bearing": {
                "pipeline": "vibration",
                "when": "anomaly() > 1.2",
                "for": "1500ms",
                "clear": "anomaly() < 1.0",
                "clear_for": "1s",
                "severity": "medium",
                "do": ["log"],
            }
        },
        **_common(),
    }


def _common() -> Mapping[str, object]:
    return {
        "actions": {"log": {"type": "log", "path": "alerts.jsonl"}},
        "outbox": {"max_disk": "64MB", "min_free": 0.0, "batch": "500ms"},
        "updates": {"behaviour": {"max_label_shift": 0.5, "min_frames": 30}},
    }


def _as_json(value: object) -> JsonValue:
    found: JsonValue = json.loads(json.dumps(value))
    return found


def _as_mapping(value: Mapping[str, object]) -> dict[str, JsonValue]:
    return mapping(_as_json(dict(value)), "configuration")
