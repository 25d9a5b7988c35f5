"""A device that is switched off in good order gives its fleet what it holds before it goes."""

import json
from pathlib import Path

from tests.integration.fleet_process import fleet_process
from tests.integration.test_agent_run.home import (
    Home,
    eventually,
    number,
    write_color_bundle,
    write_video,
)


def test_the_last_window_comes_home_before_a_clean_end(tmp_path: Path) -> None:
    folder = tmp_path / "device"
    folder.mkdir()
    write_color_bundle(folder / "bundle")
    write_video(folder / "belt.avi", [("green", 2), ("red", 2)])
    home = Home(folder)
    with fleet_process(tmp_path / "server", {"kind": "builtin", "listen": "127.0.0.1:0"}) as server:
        enrolled = server.cli("enroll", "bench-1", "--out", str(tmp_path / "enrolled"))
        assert enrolled.returncode == 0, enrolled.stderr
        (tmp_path / "enrolled" / "credential.json").rename(folder / "credential.json")
        (tmp_path / "enrolled" / "director.pub").rename(folder / "director.pub")
        home.write_config(
            sources="belt: {type: video, path: belt.avi, realtime: true, loop: true}",
            # A window longer than the run: it is closed, and can be sent, at the end only.
            pipelines="belt: {source: belt, model: vis, window: 600s}",
            more=(
                f'fleet: {{url: "{server.endpoints.device}", mqtt: "{server.endpoints.mqtt}"}}\n'
                "trust: {director: [director.pub]}"
            ),
        )
        with home.running() as agent:
            eventually(lambda: number(agent.pipeline().get("frames", 0)) >= 10)
            eventually(lambda: "connected to" in agent.log())
            assert server.counts()["windows"] == 0
            assert agent.stop() < 5
            assert agent.child.stdout is not None
            outbox = json.loads(agent.child.stdout.read())["outbox"]

        assert (outbox["windows_stored"], outbox["windows_held"]) == (1, 0)
        assert server.counts()["windows"] == 1
