"""The agent over a recording: real processes, real video, real model."""

import json

import pytest

from agent.outbox.limits import OutboxLimits
from agent.outbox.outbox import Outbox
from edgeops.clock import SystemClock
from tests.integration.test_agent_run.home import Home, write_color_bundle, write_video


def _essence(home: Home) -> list[tuple[object, ...]]:
    return [
        (e["rule"], e["state"], e["t"], e["evidence"], e["severity"], e["message"])
        for e in home.events()
    ]


def test_every_frame_of_a_file_is_used_and_alerts_are_raised_and_cleared(home: Home) -> None:
    summary = home.run_once()

    assert summary["frames"] == 130
    assert summary["alerts"] == {"red": 2}
    assert [(e["state"], e["t"]) for e in home.events()] == [
        ("raised", 3.5),
        ("cleared", 6.0),
        ("raised", 8.5),
        ("cleared", 11.0),
    ]
    pipeline = summary["pipelines"]["belt"]  # type: ignore[index]  # JSON
    assert pipeline["drops"] == {}
    assert (pipeline["errors"], pipeline["bad_outputs"], pipeline["state"]) == (0, 0, "ended")
    assert summary["windows"] == 7  # 13 s in windows of 2 s, the last one shorter


def test_the_same_file_twice_gives_the_same_alerts(home: Home) -> None:
    home.run_once()
    first = _essence(home)
    (home.folder / "alerts.jsonl").unlink()
    home.run_once()

    assert len(first) == 4
    assert _essence(home) == first


def test_alerts_and_windows_stand_on_disk_at_the_end(home: Home) -> None:
    summary = home.run_once()

    outbox = Outbox(
        home.state / "outbox.sqlite",
        device="bench-1",
        boot="0" * 16,
        limits=OutboxLimits(),
        clock=SystemClock(),
    )
    try:
        spans = outbox.spans()
        events = outbox.recent_alerts(10)
    finally:
        outbox.close()
    assert [(span.stream, span.boot) for span in spans] == [("belt", summary["boot"])]
    assert (spans[0].low, spans[0].high) == (1, summary["windows"])
    assert [event.state for event in events] == ["cleared", "raised", "cleared", "raised"]
    listed = json.loads(home.call("alerts", "--json", "--limit", "2").stdout)
    assert [event["event_id"] for event in listed["alerts"]] == [e.event_id for e in events[:2]]


def test_an_alert_that_is_open_at_the_end_of_a_recording_is_cleared(home: Home) -> None:
    write_video(home.folder / "belt.avi", [("green", 2), ("red", 3)])

    home.run_once()

    assert [e["state"] for e in home.events()] == ["raised", "cleared"]
    assert home.events()[1]["message"] == "red: the recording ended"


def test_the_interval_passes_over_frames(home: Home) -> None:
    home.write_config(pipelines="belt: {source: belt, model: vis, interval: 0.5s}")

    assert home.run_once()["frames"] == 26


def test_two_pipelines_share_one_model_and_one_file(home: Home) -> None:
    home.write_config(
        pipelines=(
            "belt: {source: belt, model: vis, window: 2s}\n"
            "  slow: {source: belt, model: vis, interval: 1s}"
        )
    )

    summary = home.run_once()

    assert {n: p["frames"] for n, p in summary["pipelines"].items()} == {  # type: ignore[attr-defined]
        "belt": 130,
        "slow": 13,
    }


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "cannot read the video"), (b"", "is empty"), (b"no video" * 100, "is not a video")],
    ids=["missing", "empty", "not-a-video"],
)
def test_a_source_that_cannot_be_read_is_one_sentence_and_a_status(
    home: Home, content: bytes | None, sentence: str
) -> None:
    path = home.folder / "belt.avi"
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    done = home.call("run", "--once")

    assert done.returncode == 74
    assert sentence in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_damaged_bundle_is_one_sentence_and_a_status(home: Home) -> None:
    bundle = home.folder / "bundle"
    copy = home.folder / "damaged"
    copy.mkdir()
    for path in bundle.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(bundle)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    model = next(copy.glob("*.onnx"))
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    bundle.unlink()
    copy.rename(bundle)

    done = home.call("run", "--once")

    assert done.returncode == 77
    assert "digest" in done.stderr.splitlines()[-1]


def test_an_endless_source_and_once_do_not_fit_together(home: Home) -> None:
    home.write_config(sources="belt: {type: video, path: belt.avi, realtime: true, loop: true}")

    done = home.call("run", "--once")

    assert done.returncode == 2
    assert "'belt' does not" in done.stderr


def test_a_rule_that_names_an_unknown_label_is_refused_with_its_line(home: Home) -> None:
    home.write_config(rules='red: {pipeline: belt, when: "score(rad) > 0.6"}')

    for words in (("check",), ("run", "--once")):
        done = home.call(*words)

        assert done.returncode == 65
        assert "line 10: rules.red.when: the model has no label 'rad'" in done.stderr
        assert "did you mean 'red'?" in done.stderr


def test_check_lists_every_fault_with_its_line(home: Home) -> None:
    home.write_config(
        rules='red: {pipeline: bolt, when: "score(red >", fro: 1s}\n  two: {pipeline: belt}',
        actions="log: {type: logg, path: alerts.jsonl}",
    )

    done = home.call("check", "--json")

    answer = json.loads(done.stdout)
    assert done.returncode == 65
    assert not answer["ok"]
    assert [(f["line"], f["path"]) for f in answer["faults"]] == [
        (10, "rules.red.fro"),
        (10, "rules.red.pipeline"),
        (10, "rules.red.when"),
        (11, "rules.two.when"),
        (13, "actions.log.type"),
    ]
    assert "did you mean 'for'?" in answer["faults"][0]["reason"]
    assert "did you mean 'belt'?" in answer["faults"][1]["reason"]


def test_bad_outputs_are_counted_and_stop_nothing(home: Home) -> None:
    (home.folder / "bundle").unlink()
    write_color_bundle(home.folder / "bundle", nan=True)

    summary = home.run_once()

    pipeline = summary["pipelines"]["belt"]  # type: ignore[index]  # JSON
    assert (pipeline["bad_outputs"], pipeline["frames"]) == (130, 0)
    assert summary["alerts"] == {"red": 0}
