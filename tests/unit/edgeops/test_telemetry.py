"""Windows become columns and back without losing a figure."""

import pytest

from edgeops import codec
from edgeops.contracts.telemetry import Frame, Sketch, Window, columns_of, merge
from edgeops.errors import ContractError


def frame(**change: object) -> bytes:
    fields: dict[str, object] = {
        "device": "d",
        "boot": "b",
        "stream": "s",
        "seq_from": 1,
        "seq_to": 2,
        "t0": 1.0,
        "columns": {"t": [1.0, 2.0], "span_s": [1.0, 1.0]},
    }
    return codec.canonical({**fields, **change})


def test_columns_hold_every_value_and_null_where_there_was_none() -> None:
    windows = [
        Window(t=1, span_s=1, values={"frames": 3}, labels={"good": 3}),
        Window(
            t=2,
            span_s=1,
            values={"frames": 4, "cpu_c": 50},
            labels={"bad": 4},
            sketches={"score": Sketch(edges=(0, 1), counts=(4,))},
        ),
    ]
    columns, labels, sketches = columns_of(windows)
    assert columns == {"frames": (3, 4), "cpu_c": (None, 50), "t": (1, 2), "span_s": (1, 1)}
    assert labels == {"good": (3, 0), "bad": (0, 4)}
    assert sketches["score"].counts == (4,)


def test_histograms_merge_only_over_equal_edges() -> None:
    one = Sketch(edges=(0, 1, 2), counts=(1, 2))
    assert merge(one, one).counts == (2, 4)
    with pytest.raises(ValueError, match="equal edges"):
        merge(one, Sketch(edges=(0, 2), counts=(1,)))


@pytest.mark.parametrize(
    "change",
    [
        {"seq_to": 3},
        {"seq_from": 5},
        {"seq_from": 0},
        {"columns": {"t": [1.0, 2.0]}},
        {"device": "a/b"},
        {"columns": {"t": [1.0, 2.0], "span_s": [1.0, "x"]}},
        {"v": 2},
    ],
)
def test_a_frame_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    assert codec.decode(frame(), Frame, where="frame").seq_to == 2
    with pytest.raises(ContractError):
        codec.decode(frame(**change), Frame, where="frame")
