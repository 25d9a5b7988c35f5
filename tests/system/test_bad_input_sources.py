"""Recordings that end, are empty, damaged or something else: a sentence, or counts by cause."""

import json
from pathlib import Path

import pytest

from edgeops.codec import JsonValue
from tests.integration.test_agent_run.home import (
    Home,
    write_color_bundle,
    write_signal_bundle,
    write_video,
)
from tests.system.command import edgeops

SENSOR = "s: {{type: csv, path: {name}, columns: [a], time_column: t, window: 16}}"
PIPELINE = "belt: {source: s, model: vis, window: 1s}"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_signal_bundle(tmp_path_factory.mktemp("models") / "signal")


@pytest.fixture
def home(tmp_path: Path, bundle: Path) -> Home:
    (tmp_path / "bundle").symlink_to(bundle)
    return Home(tmp_path)


@pytest.fixture
def color_home(tmp_path: Path) -> Home:
    write_color_bundle(tmp_path / "bundle")
    return Home(tmp_path)


def rows(count: int, *, start: float = 0.0, bad: dict[int, str] | None = None) -> str:
    cells = bad or {}
    return "".join(f"{start + i / 100},{cells.get(i, i % 2)}\n" for i in range(count))


def run(home: Home, source: str) -> dict[str, JsonValue]:
    """Run the agent over the source; return what its summary says of the pipeline."""
    configure(home, source)
    ended = edgeops("agent", "run", "--once", "--json", "--config", home.config, cwd=home.folder)
    assert ended.status == 0, ended.err
    pipeline: dict[str, JsonValue] = json.loads(ended.out)["pipelines"]["belt"]
    return pipeline


def configure(home: Home, source: str) -> None:
    home.write_config(sources=source, pipelines=PIPELINE, rules="{}", actions="{}")


def refused(home: Home, source: str) -> tuple[int, str]:
    configure(home, source)
    return edgeops("agent", "run", "--once", "--config", home.config, cwd=home.folder).refusal()


@pytest.mark.parametrize(
    ("text", "frames", "drops"),
    [
        ("t,a\n" + rows(64), 4, {}),
        ("t,a\n" + rows(32) + rows(32, start=50.0), 4, {"gap": 1}),
        ("t,a\n" + rows(64, bad={5: "nan", 6: "text", 40: "inf"}), 3, {"bad_row": 3}),
        ("t,a\n" + rows(64, bad={5: "1,2,3", 6: ""}), 3, {"bad_row": 2}),
        ("t,a\n" + "x,y\n" * 50, 0, {"bad_row": 50}),
        ("t,a\n", 0, {}),
    ],
    ids=["whole", "gap", "nan-and-text", "wrong-width", "words-alone", "header-alone"],
)
def test_rows_that_cannot_be_used_are_counted(
    home: Home, text: str, frames: int, drops: dict[str, int]
) -> None:
    (home.folder / "s.csv").write_text(text)

    pipeline = run(home, SENSOR.format(name="s.csv"))

    assert (pipeline["frames"], pipeline["drops"]) == (frames, drops)
    assert (pipeline["state"], pipeline["errors"]) == ("ended", 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"t,b\n1,2\n", "has no column 'a'; its columns are t, b"),
        (bytes(range(256)) * 20, "has no column 'a'"),
    ],
    ids=["missing", "empty", "missing-column", "not-text"],
)
def test_a_sensor_file_that_is_none_ends_with_74(
    home: Home, content: bytes | None, words: str
) -> None:
    if content is not None:
        (home.folder / "s.csv").write_bytes(content)

    status, sentence = refused(home, SENSOR.format(name="s.csv"))

    assert (status, words in sentence) == (74, True), sentence


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "is empty, not a video"),
        (b"hello " * 200, "is not a video"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "is not a video"),
    ],
    ids=["missing", "empty", "text", "header-alone"],
)
def test_a_video_that_is_none_ends_with_74(home: Home, content: bytes | None, words: str) -> None:
    if content is not None:
        (home.folder / "s.avi").write_bytes(content)

    status, sentence = refused(home, "s: {type: video, path: s.avi}")

    assert (status, words in sentence) == (74, True), sentence


def test_a_video_cut_short_gives_what_is_whole_and_counts_the_rest(
    tmp_path: Path, color_home: Home
) -> None:
    path = color_home.folder / "s.avi"
    write_video(path, [("green", 5), ("red", 5)])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])

    configure(color_home, "s: {type: video, path: s.avi}")
    ended = edgeops("agent", "run", "--once", "--json", "--config", color_home.config, cwd=tmp_path)

    # Without its index a container may give half its frames or none: both are said.
    if ended.status == 0:
        pipeline = json.loads(ended.out)["pipelines"]["belt"]
        assert 0 < pipeline["frames"] < 100
        assert pipeline["frames"] + pipeline["drops"]["undecodable"] == 100
    else:
        assert ended.refusal()[0] == 74


def test_a_video_that_ends_ends_the_pipeline(color_home: Home) -> None:
    write_video(color_home.folder / "s.avi", [("green", 2)])

    pipeline = run(color_home, "s: {type: video, path: s.avi}")

    assert (pipeline["frames"], pipeline["state"], pipeline["drops"]) == (20, "ended", {})


def test_pictures_for_a_model_of_signals_are_errors_by_number_and_sentence(home: Home) -> None:
    write_video(home.folder / "s.avi", [("green", 2)])

    configure(home, "s: {type: video, path: s.avi}")
    ended = edgeops("agent", "run", "--once", "--json", "--config", home.config, cwd=home.folder)

    pipeline = json.loads(ended.out)["pipelines"]["belt"]
    assert (pipeline["frames"], pipeline["errors"]) == (0, 20)
    assert "pipeline belt: no answer: " in ended.err
    assert "Traceback" not in ended.err


def test_a_folder_of_damaged_pictures_is_counted(color_home: Home) -> None:
    (color_home.folder / "pictures").mkdir()
    for name in ("a.png", "b.jpg"):
        (color_home.folder / "pictures" / name).write_text("no picture")

    pipeline = run(color_home, "s: {type: images, path: pictures}")

    assert (pipeline["frames"], pipeline["drops"]) == (0, {"bad_image": 2})
