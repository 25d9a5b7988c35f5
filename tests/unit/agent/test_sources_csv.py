"""Recorded sensors: what a row must be, how windows are cut, what tears them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from agent.sources.csv_replay import open_csv
from agent.sources.csv_rows import parse_time
from agent.sources.options import CsvOptions
from agent.sources.recording import Recording
from edgeops.clock import SystemClock
from edgeops.errors import SourceError


def _open(
    path: Path,
    text: str,
    *,
    columns: Sequence[str] = ("v",),
    time_column: str | None = "t",
    rate_hz: float | None = None,
    window: int = 2,
    step: int | None = None,
) -> Recording:
    path.write_bytes(text.encode())
    options = CsvOptions(
        path=str(path),
        columns=tuple(columns),
        time_column=time_column,
        rate_hz=rate_hz,
        window=window,
        step=step,
    )
    return open_csv(options, SystemClock())


def _all(source: Recording) -> list[tuple[float, object]]:
    found: list[tuple[float, object]] = []
    while (sample := source.read(0.0)) is not None:
        found.append((sample.t, np.asarray(sample.array).tolist()))
    assert source.ended
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sensor.csv"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "with-mark"])
def test_windows_of_one_column(file: Path, delimiter: str, start: str) -> None:
    rows = "".join(f"{i}.5{delimiter}x{delimiter}{i}\r\n" for i in range(5))

    found = _all(_open(file, f"{start}t{delimiter}note{delimiter}v\r\n" + rows))

    assert found == [(1.5, [0.0, 1.0]), (3.5, [2.0, 3.0])]


def test_windows_overlap_by_their_step_and_keep_column_order(file: Path) -> None:
    rows = "".join(f"{i},{i},{10 * i}\n" for i in range(4))

    found = _all(_open(file, "t,a,b\n" + rows, columns=("b", "a"), window=3, step=1))

    assert found == [
        (2.0, [[0.0, 0.0], [10.0, 1.0], [20.0, 2.0]]),
        (3.0, [[10.0, 1.0], [20.0, 2.0], [30.0, 3.0]]),
    ]


def test_arrays_are_float32(file: Path) -> None:
    sample = _open(file, "t,v\n0,1\n1,2\n").read(0.0)

    assert sample is not None
    assert sample.array.dtype == np.float32
    assert sample.array.shape == (2,)
    assert sample.color is None


def test_bad_rows_are_counted_and_skipped(file: Path) -> None:
    rows = [
        "0,0",
        "1,text",
        "1,nan",
        "1,inf",
        "1",
        "1,1,1",
        "1,",
        "yesterday,1",
        '1,"open',
        "1,\0",
        "",
        "1,1",
        "1,1",
        "0.5,7",
        "2,2",
        "3,3",
    ]

    source = _open(file, "t,v\n" + "\n".join(rows) + "\n")

    assert _all(source) == [(1.0, [0.0, 1.0]), (3.0, [2.0, 3.0])]
    assert source.drops == {"bad_row": 11}


def test_a_hole_in_time_tears_the_window(file: Path) -> None:
    times = [0, 1, 2, 3, 4, 60, 61, 62, 63]
    rows = "".join(f"{t},{t}\n" for t in times)

    source = _open(file, "t,v\n" + rows, window=4)

    assert _all(source) == [(3.0, [0, 1, 2, 3]), (63.0, [60, 61, 62, 63])]
    assert source.drops == {"gap": 1}


def test_without_times_the_rate_counts(file: Path) -> None:
    rows = "".join(f"{i}\n" for i in range(4))

    found = _all(_open(file, "v\n" + rows, time_column=None, rate_hz=4.0))

    assert [t for t, _ in found] == [0.25, 0.75]


def test_an_endless_line_is_one_bad_row(file: Path) -> None:
    source = _open(file, "t,v\n0,0\n1," + "9" * (3 << 20) + "\n1,1\n")

    assert _all(source) == [(1.0, [0.0, 1.0])]
    assert source.drops == {"bad_row": 1}


def test_iso_times_become_seconds() -> None:
    assert parse_time("2014-04-10 07:15:00.500") == 1397114100.5
    assert parse_time("2014-04-10T09:15:00+02:00") == 1397114100.0
    assert parse_time("12.25") == 12.25
    assert parse_time("nan") is None
    assert parse_time("soon") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("t,w\n0,1\n", "has no column 'v'; its columns are t, w"),
    ],
)
def test_a_file_without_the_columns_is_one_sentence(file: Path, text: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        _open(file, text)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    options = CsvOptions(path=str(tmp_path / "none.csv"), columns=("v",), rate_hz=1.0)

    with pytest.raises(SourceError, match="cannot read"):
        open_csv(options, SystemClock())
