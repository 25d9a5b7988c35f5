"""Actions: real files, real programs, a real HTTP server, a real broker."""

import http.server
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agent.sinks.command import CommandSink, filled, unknown_placeholders
from agent.sinks.local_mqtt import MqttSink
from agent.sinks.log_file import LogSink
from agent.sinks.options import CommandOptions, LogOptions, MqttOptions, WebhookOptions
from agent.sinks.sink import QUEUE, SinkError, SinkThread
from agent.sinks.webhook import WebhookSink
from edgeops.contracts.alert import AlertEvent
from edgeops.quantities import ByteSize, Duration


def _event(number: int = 1) -> AlertEvent:
    return AlertEvent(
        device="d1",
        boot="b1",
        event_id=f"b1-{number}",
        alert_id="b1-1",
        state="raised",
        rule="two words; rm -rf",
        pipeline="belt",
        severity="high",
        t=1.0,
        wall=2.0,
        clock="bad",
    )


def _plainly(_name: str, body: Callable[[], None]) -> None:
    body()


def test_the_log_holds_whole_lines_and_rotates_by_size(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "alerts.jsonl"
    sink = LogSink(LogOptions(path=str(path), max_size=ByteSize(700), keep=2))

    for number in range(1, 12):
        sink.deliver(_event(number))

    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["alerts.jsonl", "alerts.jsonl.1", "alerts.jsonl.2"]
    assert all(file.stat().st_size <= 700 for file in files)
    lines = [line for file in reversed(files) for line in file.read_text().splitlines()]
    numbers = [int(json.loads(line)["event_id"].partition("-")[2]) for line in lines]
    assert numbers == list(range(numbers[0], 12))


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sink = LogSink(LogOptions(path=str(tmp_path / "file" / "alerts.jsonl")))

    with pytest.raises(SinkError, match="cannot write"):
        sink.deliver(_event())


def test_placeholders_are_single_words_of_the_event() -> None:
    argv = ("/bin/x", "{rule}", "{state}-{severity}", "{device}", "{alert_id}", "{other}")

    assert filled(argv, _event()) == [
        "/bin/x",
        "two words; rm -rf",
        "raised-high",
        "d1",
        "b1-1",
        "{other}",
    ]
    assert unknown_placeholders(argv) == ["other"]


def test_a_command_gets_its_arguments_unchanged_and_the_event_as_json(tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = (
        "import sys,pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2]+sys.stdin.read())"
    )
    sink = CommandSink(CommandOptions(argv=(sys.executable, "-c", program, str(out), "{rule}|")))

    sink.deliver(_event())

    rule, _, event = out.read_text().partition("|")
    assert rule == "two words; rm -rf"
    assert json.loads(event)["event_id"] == "b1-1"


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (("/no/such/program",), "cannot run /no/such/program: No such file"),
        ((sys.executable, "-c", "import sys; sys.exit('broken horn')"), "ended with 1: broken"),
    ],
)
def test_a_command_that_fails_is_one_sentence(argv: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(SinkError, match=sentence):
        CommandSink(CommandOptions(argv=argv)).deliver(_event())


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = (
        "import subprocess,sys,pathlib;"
        "c=subprocess.Popen(['sleep','60']);"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(c.pid));c.wait()"
    )
    sink = CommandSink(CommandOptions(argv=(sys.executable, "-c", program), timeout=Duration(1.0)))

    with pytest.raises(SinkError, match="ran longer than 1 s and was killed"):
        sink.deliver(_event())

    child = Path("/proc") / pid_file.read_text() / "stat"
    until = time.monotonic() + 10
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until, "the grandchild lives"
        threading.Event().wait(0.02)


class _Receiver:
    """A web server that answers with the given statuses, then with 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.bodies: list[dict[str, object]] = []


@contextmanager
def _receiving(receiver: _Receiver) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.statuses.pop(0) if receiver.statuses else 200
            if status < 300:
                receiver.bodies.append(json.loads(body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # inherited
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_webhook_is_tried_again_until_it_is_taken() -> None:
    receiver = _Receiver(503)
    with _receiving(receiver) as url:
        sink = WebhookSink(WebhookOptions(url=url, retries=2))
        sink.deliver(_event())
        sink.close()

    assert [body["event_id"] for body in receiver.bodies] == ["b1-1"]


def test_a_webhook_that_refuses_is_not_tried_again() -> None:
    receiver = _Receiver(400, 400)
    with _receiving(receiver) as url:
        sink = WebhookSink(WebhookOptions(url=url, retries=5))
        with pytest.raises(SinkError, match=r"127\.0\.0\.1 did not take the event: status 400"):
            sink.deliver(_event())
        sink.close()

    assert receiver.statuses == [400]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_webhook_that_is_not_there_is_one_sentence() -> None:
    sink = WebhookSink(WebhookOptions(url=f"http://127.0.0.1:{_free_port()}/x", retries=0))

    with pytest.raises(SinkError, match="did not take the event"):
        sink.deliver(_event())
    sink.close()


@contextmanager
def _mosquitto(folder: Path, port: int) -> Iterator[None]:
    passwords = folder / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(passwords), "plant", "letmein"],
        check=True,
        capture_output=True,
    )
    passwords.chmod(0o644)
    folder.chmod(0o755)
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n"
    )
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    child = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.5).close()
                break
            except OSError:
                assert time.monotonic() < until, "mosquitto does not listen"
                threading.Event().wait(0.05)
        yield
    finally:
        child.terminate()
        child.wait(10)


def _mosquitto_is_here() -> bool:
    return shutil.which("mosquitto_passwd") is not None and (
        shutil.which("mosquitto") is not None or Path("/usr/sbin/mosquitto").exists()
    )


@pytest.mark.mosquitto
@pytest.mark.skipif(not _mosquitto_is_here(), reason="Mosquitto is not installed")
def test_mqtt_delivers_also_after_the_broker_was_restarted(tmp_path: Path) -> None:
    port = _free_port()
    (tmp_path / "secret").write_text("letmein\n")
    options = MqttOptions(
        address=f"127.0.0.1:{port}",
        topic="plant/alerts",
        username="plant",
        password_file=str(tmp_path / "secret"),
        timeout=Duration(3.0),
    )
    sink = MqttSink(options)
    try:
        for number in (1, 2):
            with _mosquitto(tmp_path, port), _listening(port) as received:
                sink.deliver(_event(number))
                until = time.monotonic() + 10
                while not received:
                    assert time.monotonic() < until, "nothing was received"
                    threading.Event().wait(0.02)
            assert [body["event_id"] for body in received] == [f"b1-{number}"]
        with pytest.raises(SinkError, match=f"127.0.0.1:{port}"):
            sink.deliver(_event(3))
    finally:
        sink.close()


@contextmanager
def _listening(port: int) -> Iterator[list[dict[str, object]]]:
    received: list[dict[str, object]] = []
    ready = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set("plant", "letmein")

    def on_message(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        received.append(json.loads(message.payload))

    def on_subscribe(*_: object) -> None:
        ready.set()

    client.on_message = on_message
    client.on_subscribe = on_subscribe
    client.connect("127.0.0.1", port)
    client.subscribe("plant/alerts", qos=1)
    client.loop_start()
    try:
        assert ready.wait(10)
        yield received
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.mosquitto
@pytest.mark.skipif(not _mosquitto_is_here(), reason="Mosquitto is not installed")
def test_mqtt_with_a_wrong_password_is_one_sentence(tmp_path: Path) -> None:
    port = _free_port()
    (tmp_path / "secret").write_text("wrong\n")
    options = MqttOptions(
        address=f"mqtt://127.0.0.1:{port}",
        topic="plant/alerts",
        username="plant",
        password_file=str(tmp_path / "secret"),
    )
    sink = MqttSink(options)
    with _mosquitto(tmp_path, port), pytest.raises(SinkError, match="did not let us in: Not auth"):
        sink.deliver(_event())
    sink.close()


class _Gate:
    """A sink that hangs until it is opened, and fails on demand."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.seen: list[str] = []

    def deliver(self, event: AlertEvent) -> None:
        assert self.open.wait(20)
        if event.event_id == "b1-2":
            raise SinkError("the second is refused")
        self.seen.append(event.event_id)

    def close(self) -> None:
        self.open.set()


def test_a_hanging_sink_costs_no_time_and_what_is_too_much_is_counted() -> None:
    gate = _Gate()
    thread = SinkThread("slow", gate, _plainly)
    thread.start()
    began = time.monotonic()
    for number in range(1, QUEUE + 12):
        thread.submit(_event(number))
    took_s = time.monotonic() - began
    dropped = thread.status().dropped
    gate.open.set()

    assert thread.flush(10)
    thread.stop(5)
    status = thread.status()
    assert took_s < 1.0
    assert dropped in {10, 11}, "one may already be with the sink"
    assert status.delivered + status.failed + status.dropped == QUEUE + 11
    assert (status.failed, status.last_error) == (1, "the second is refused")
    assert gate.seen[:3] == ["b1-1", "b1-3", "b1-4"]
