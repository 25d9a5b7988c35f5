"""Which windows are new and where a stream is whole, against counting with sets."""

from hypothesis import given
from hypothesis import strategies as st

from edgeops.contracts.telemetry import Frame, Sketch
from fleet.telemetry.sequence import Range, extended, new_ranges, trimmed

RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)), max_size=12)


def apart(pairs: list[tuple[int, int]]) -> list[Range]:
    """Return ascending ranges that do not overlap."""
    found: list[Range] = []
    for start, length in sorted(pairs):
        if not found or start > found[-1][1]:
            found.append((start, start + length))
    return found


def members(ranges: list[Range]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


@given(st.integers(1, 60), st.integers(0, 30), RANGES)
def test_new_ranges_are_what_no_stored_range_covers(
    start: int, length: int, pairs: list[tuple[int, int]]
) -> None:
    stored = apart(pairs)

    fresh = new_ranges((start, start + length), stored)

    assert members(fresh) == set(range(start, start + length + 1)) - members(stored)
    assert fresh == apart([(first, last - first) for first, last in fresh])


@given(st.integers(0, 60), RANGES)
def test_contiguous_ends_before_the_first_missing_number(
    contiguous: int, pairs: list[tuple[int, int]]
) -> None:
    stored = apart(pairs)

    reached = extended(contiguous, stored)

    known = members(stored) | set(range(1, contiguous + 1))
    assert set(range(1, reached + 1)) <= known
    assert reached + 1 not in known


def test_a_part_of_a_frame_has_its_windows_and_no_sketches() -> None:
    frame = Frame(
        device="d",
        boot="b",
        stream="s",
        seq_from=10,
        seq_to=14,
        t0=100.0,
        columns={
            "t": (100.0, 101.0, 102.0, 103.0, 104.0),
            "span_s": (1.0,) * 5,
            "frames": (1.0, 2.0, None, 4.0, 5.0),
        },
        labels={"ok": (1, 2, 3, 4, 5)},
        sketches={"score": Sketch(edges=(0.0, 1.0), counts=(15,))},
    )

    part = trimmed(frame, (12, 13))

    assert (part.seq_from, part.seq_to, part.t0) == (12, 13, 102.0)
    assert part.columns["frames"] == (None, 4.0)
    assert part.labels == {"ok": (3, 4)}
    assert part.sketches == {}
