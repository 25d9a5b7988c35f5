"""The agent as a daemon: signals, crashes, hanging parts; all by real processes."""

import http.server
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.emulation.camera import Pictures, serving
from tests.integration.test_agent_run.home import (
    Home,
    RunningAgent,
    eventually,
    free_port,
    number,
    write_signal_bundle,
    write_video,
)

LOOPED = "belt: {type: video, path: belt.avi, realtime: true, loop: true}"


def _frames(agent: RunningAgent, name: str = "belt") -> float:
    return number(agent.pipeline(name).get("frames", 0))


def _pid(agent: RunningAgent, name: str = "belt") -> int:
    return int(number(agent.pipeline(name).get("pid", 0)))


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def live(home: Home) -> Home:
    home.write_config(sources=LOOPED)
    return home


def test_a_running_agent_answers_and_ends_within_five_seconds(live: Home) -> None:
    with live.running() as agent:
        eventually(lambda: _frames(agent) >= 5)
        status = agent.status()
        took_s = agent.stop()

    assert status is not None
    assert status["device"] == "bench-1"
    pipeline = status["pipelines"][0]  # type: ignore[index]  # JSON
    assert (pipeline["state"], pipeline["model"]["title"]) == ("running", "tiny 1.0.0")
    assert took_s < 5.0
    assert not (live.state / "api.json").exists()
    assert live.call("status").returncode == 75


def test_the_supervisor_loads_no_vision_and_no_runtime(live: Home) -> None:
    with live.running() as agent:
        eventually(lambda: _frames(agent) >= 1)
        maps = Path(f"/proc/{agent.child.pid}/maps").read_text()
        pipe_maps = Path(f"/proc/{_pid(agent)}/maps").read_text()

    for library in ("cv2", "onnxruntime", "numpy"):
        assert library not in maps
        assert library in pipe_maps


def test_a_sensor_pipe_loads_no_vision(live: Home) -> None:
    rows = "".join(f"{i / 100},{i % 2}\n" for i in range(1000))
    (live.folder / "bundle").unlink()
    write_signal_bundle(live.folder / "bundle")
    (live.folder / "vib.csv").write_text("t,a\n" + rows)
    live.write_config(
        sources=(
            "belt: {type: csv, path: vib.csv, columns: [a], time_column: t, window: 16, "
            "realtime: true, loop: true}"
        ),
        rules='odd: {pipeline: belt, when: "anomaly() > 2"}',
    )
    with live.running() as agent:
        eventually(lambda: _frames(agent) >= 3)
        maps = Path(f"/proc/{_pid(agent)}/maps").read_text()

    assert "onnxruntime" in maps
    assert "cv2" not in maps


def test_a_second_agent_on_one_state_directory_is_refused(live: Home) -> None:
    with live.running() as agent:
        eventually(lambda: agent.status() is not None)
        second = live.call("run", timeout=20)

    assert second.returncode == 74
    assert "another agent is running" in second.stderr.splitlines()[-1]


def test_a_crashed_pipe_is_restarted_and_the_others_go_on(live: Home) -> None:
    live.write_config(
        sources=LOOPED,
        pipelines="belt: {source: belt, model: vis}\n  other: {source: belt, model: vis}",
    )
    with live.running() as agent:
        eventually(lambda: _frames(agent) >= 3 and _frames(agent, "other") >= 3)
        first, other = _pid(agent), _pid(agent, "other")
        os.kill(first, signal.SIGKILL)
        eventually(lambda: _pid(agent) not in {0, first})
        before = _frames(agent)
        eventually(lambda: _frames(agent) >= before + 3)
        pipelines = [agent.pipeline("belt"), agent.pipeline("other")]
        assert _pid(agent, "other") == other

    assert [p["restarts"] for p in pipelines] == [1, 0]
    assert "SIGKILL" in agent.log()


def test_a_stuck_pipe_is_killed_and_restarted(live: Home) -> None:
    with live.running() as agent:
        eventually(lambda: _frames(agent) >= 3)
        first = _pid(agent)
        os.kill(first, signal.SIGSTOP)
        eventually(lambda: _pid(agent) not in {0, first}, within=30)
        before = _frames(agent)
        eventually(lambda: _frames(agent) >= before + 3)

    assert "it hung in" in agent.log()
    assert not _is_alive(first)


def test_pipes_end_with_a_killed_supervisor(live: Home) -> None:
    with live.running() as agent:
        eventually(lambda: _frames(agent) >= 3)
        pid = _pid(agent)
        agent.child.kill()
        eventually(lambda: not _is_alive(pid), within=10)


def test_an_open_alert_survives_a_power_cut_and_fires_once(live: Home) -> None:
    write_video(live.folder / "belt.avi", [("red", 60)])
    with live.running() as agent:
        eventually(lambda: len(live.events()) == 1)
        agent.child.kill()
        agent.child.wait(10)
    with live.running() as agent:
        eventually(lambda: _frames(agent) >= 15)
        status = agent.status()
    write_video(live.folder / "belt.avi", [("green", 60)])
    with live.running() as agent:
        eventually(lambda: len(live.events()) == 2)

    assert status is not None
    rule = status["rules"][0]  # type: ignore[index]  # JSON
    events = live.events()
    assert (rule["phase"], rule["raised"]) == ("firing", 0)
    assert [event["state"] for event in events] == ["raised", "cleared"]
    assert events[0]["alert_id"] == events[1]["alert_id"] == rule["alert_id"]


def test_hangup_takes_new_rules_and_says_what_needs_a_restart(live: Home) -> None:
    write_video(live.folder / "belt.avi", [("red", 60)])
    quiet = 'red: {pipeline: belt, when: "score(red) > 2"}'
    live.write_config(sources=LOOPED, rules=quiet)
    with live.running() as agent:
        eventually(lambda: _frames(agent) >= 3)
        live.write_config(
            sources="belt: {type: video, path: belt.avi, realtime: true}",
            rules='red: {pipeline: belt, when: "score(red) > 0.5", do: [log, extra]}',
            actions="log: {type: log, path: alerts.jsonl}\n  extra: {type: log, path: more.jsonl}",
        )
        agent.child.send_signal(signal.SIGHUP)
        eventually(lambda: len(live.events("more.jsonl")) == 1)
        good = live.config.read_text()
        live.config.write_text("schema: 2\n")
        agent.child.send_signal(signal.SIGHUP)
        eventually(lambda: "configuration kept as it was" in agent.log())
        live.config.write_text(good)
        before = _frames(agent)
        eventually(lambda: _frames(agent) > before)

    assert "section sources has changed: it needs a restart" in agent.log()
    assert len(live.events()) == 1


def test_removing_a_rule_clears_its_open_alert(live: Home) -> None:
    write_video(live.folder / "belt.avi", [("red", 60)])
    with live.running() as agent:
        eventually(lambda: len(live.events()) == 1)
        agent.stop()
    live.write_config(sources=LOOPED, rules='new: {pipeline: belt, when: "score(red) > 2"}')
    with live.running() as agent:
        eventually(lambda: _frames(agent) >= 1)
        agent.stop()

    listed = json.loads(live.call("alerts", "--json").stdout)["alerts"]
    assert [(a["rule"], a["state"]) for a in listed] == [("red", "cleared"), ("red", "raised")]
    assert listed[0]["message"] == "red: the rule was removed"


@contextmanager
def _silent_server() -> Iterator[int]:
    """Accept requests and never answer until the end."""
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            over.wait(60)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # inherited
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_hanging_webhook_delays_nobody(live: Home) -> None:
    write_video(live.folder / "belt.avi", [("green", 1), ("red", 1)])
    with _silent_server() as port:
        live.write_config(
            sources=LOOPED,
            rules=(
                'red: {pipeline: belt, when: "score(red) > 0.6", clear: "score(red) < 0.4", '
                "do: [log, hook]}"
            ),
            actions=(
                "log: {type: log, path: alerts.jsonl}\n"
                f'  hook: {{type: webhook, url: "http://127.0.0.1:{port}/x", timeout: 30s}}'
            ),
        )
        with live.running() as agent:
            eventually(lambda: len(live.events()) >= 4)
            took_s = agent.stop()

    assert took_s < 5.0


def test_a_lost_camera_is_opened_again(live: Home) -> None:
    port = free_port()
    address = f"http://user:secret@127.0.0.1:{port}/video.mjpg"
    live.write_config(sources=f'belt: {{type: camera, device: "{address}", fps: 20, stall: 2s}}')
    with live.running() as agent:
        eventually(lambda: agent.pipeline().get("state") == "lost")
        for _ in range(2):
            with serving(Pictures(frames=100_000), port):
                before = _frames(agent)
                eventually(lambda: _frames(agent) > before + 3)  # noqa: B023  # used at once
            eventually(lambda: agent.pipeline().get("state") == "lost")
        pipeline = agent.pipeline()
        took_s = agent.stop()

    assert pipeline["restarts"] == 0
    assert "***@127.0.0.1" in str(pipeline["detail"])
    assert "secret" not in agent.log()
    assert took_s < 5.0


def test_without_a_bundle_that_can_run_the_agent_says_so(live: Home) -> None:
    (live.folder / "bundle").unlink()

    done = live.call("run", timeout=20)

    assert done.returncode == 74
    assert "cannot read" in done.stderr.splitlines()[-1]
