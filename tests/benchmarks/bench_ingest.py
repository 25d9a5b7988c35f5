"""Windows per second that one server process stores, over each broker there is.

    python tests/benchmarks/bench_ingest.py [--frames 4000] [--windows 10] [--devices 20]

Every frame goes through the broker as QoS 1, is stored in SQLite with synchronous=FULL and is
acknowledged after the commit; the clock stops when the last device holds nothing any more.
Publishers, broker and server share this machine, so the figures are lower bounds. Prints one line
of JSON for each broker.
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgeops import codec
from edgeops.contracts.telemetry import Ack, Frame
from edgeops.topics import Kind, Topic
from fleet.broker.mosquitto import find_mosquitto
from tests.integration.fleet_process import FleetProcess, fleet_process, until

COLUMNS = 12
IN_FLIGHT = 50


class Publisher:
    """One device that sends frames as fast as its acknowledgements come."""

    def __init__(self, server: FleetProcess, name: str, frames: int, windows: int) -> None:
        credential = server.enrol(name)
        self._payloads = [
            codec.canonical(frame_of(name, number * windows + 1, windows))
            for number in range(frames)
        ]
        self._windows = windows
        self._last = frames * windows
        self._sent = 0
        self._topic = f"eo/1/default/{name}/telemetry/cam"
        self.done = threading.Event()
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name)
        self._client.max_inflight_messages_set(IN_FLIGHT)
        self._client.username_pw_set(name, credential["secret"])
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._ready.set()
        host, _, port = server.endpoints.mqtt.rpartition(":")
        self._client.connect(host, int(port))
        self._client.loop_start()
        self._client.subscribe(str(Topic(tenant="default", device=name, kind=Kind.ACK)), qos=0)
        until(self._ready.is_set, f"{name} is subscribed")

    def start(self) -> None:
        self._send(IN_FLIGHT)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _send(self, upto: int) -> None:
        while self._sent < min(upto, len(self._payloads)):
            self._client.publish(self._topic, self._payloads[self._sent], qos=1)
            self._sent += 1

    def _on_message(
        self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage
    ) -> None:
        stored = codec.decode(bytes(message.payload), Ack, where="ack").streams.get("cam", 0)
        self._send(stored // self._windows + IN_FLIGHT)
        if stored >= self._last:
            self.done.set()


def frame_of(name: str, first: int, windows: int) -> Frame:
    """Return a frame as large as an agent's."""
    columns: dict[str, tuple[float | None, ...]] = {
        f"figure_{number}": tuple(round(0.37 * number + k, 3) for k in range(windows))
        for number in range(COLUMNS)
    }
    columns["t"] = tuple(1.8e9 + first + k for k in range(windows))
    columns["span_s"] = (2.0,) * windows
    return Frame(
        device=name,
        boot="bench",
        stream="cam",
        seq_from=first,
        seq_to=first + windows - 1,
        t0=1.8e9,
        model="sha256:" + "a" * 64,
        columns=columns,
        labels={"ok": (60,) * windows, "defect": (1,) * windows},
    )


def measured(kind: str, *, frames: int, windows: int, devices: int) -> dict[str, object]:
    """Run one server over one broker; return its figures."""
    each = frames // devices
    with (
        tempfile.TemporaryDirectory() as folder,
        fleet_process(Path(folder), {"kind": kind, "listen": "127.0.0.1:0"}) as server,
    ):
        publishers = [Publisher(server, f"d{n}", each, windows) for n in range(devices)]
        cpu_s, start_s = cpu_of(server.pid), time.perf_counter()
        for publisher in publishers:
            publisher.start()
        for publisher in publishers:
            assert publisher.done.wait(120), "not everything was stored within two minutes"
        wall_s = time.perf_counter() - start_s
        cpu_s = cpu_of(server.pid) - cpu_s
        for publisher in publishers:
            publisher.close()
        counts = server.counts()
        assert counts["windows"] == each * devices * windows, counts
    return {
        "broker": kind,
        "devices": devices,
        "frames": each * devices,
        "windows": counts["windows"],
        "frame_bytes": len(codec.canonical(frame_of("d0", 1, windows))),
        "seconds": round(wall_s, 2),
        "windows_per_s": round(counts["windows"] / wall_s),
        "frames_per_s": round(counts["frames"] / wall_s),
        "server_cpu_us_per_frame": round(cpu_s / counts["frames"] * 1e6),
    }


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    mosquitto = find_mosquitto()
    said = (
        subprocess.run([mosquitto, "-h"], capture_output=True, text=True, check=False).stdout
        if mosquitto
        else ""
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "paho": version("paho-mqtt"),
        "sqlalchemy": version("sqlalchemy"),
        "mosquitto": said.partition("\n")[0],
    }


def say(figures: dict[str, object]) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Measure every broker that is here."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=4000)
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--devices", type=int, default=20)
    options = parser.parse_args()
    say(machine())
    for kind in ("builtin", *(["mosquitto"] if find_mosquitto() else [])):
        found = measured(
            kind, frames=options.frames, windows=options.windows, devices=options.devices
        )
        say(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
