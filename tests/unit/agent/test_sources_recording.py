"""Recordings at their own speed: when samples are due, what comes too late, what a loop does."""

from collections.abc import Iterator

import numpy as np

from agent.sources.recording import Recording
from agent.sources.source import Sample


class HandClock:
    """Moves only when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def _five(drops: dict[str, int]) -> Iterator[Sample]:
    for number in range(5):
        yield Sample(number * 0.1, np.full(1, number, dtype=np.float32))


def _recording(clock: HandClock, *, realtime: bool = True, loop: bool = False) -> Recording:
    return Recording(_five, period_s=0.1, realtime=realtime, loop=loop, clock=clock)


def test_as_fast_as_possible_gives_everything_and_ends() -> None:
    source = _recording(HandClock(), realtime=False)

    samples = [source.read(1.0) for _ in range(5)]

    assert [s.t for s in samples if s] == [0.0, 0.1, 0.2, 0.1 * 3, 0.4]
    assert source.read(1.0) is None
    assert source.ended


def test_a_sample_comes_when_it_is_due() -> None:
    clock = HandClock()
    source = _recording(clock)

    first = source.read(0.0)
    early = source.read(0.0)
    clock.now += 0.11
    second = source.read(0.0)

    assert first is not None
    assert early is None
    assert second is not None
    assert second.t == 0.1


def test_the_latest_sample_wins_when_the_reader_is_late() -> None:
    clock = HandClock()
    source = _recording(clock)
    source.read(0.0)
    clock.now += 0.9

    sample = source.read(0.0)

    assert sample is not None
    assert sample.t == 0.4
    assert source.drops == {"late": 3}


def test_a_loop_keeps_time_growing() -> None:
    clock = HandClock()
    source = _recording(clock, loop=True)
    times = []
    for _ in range(12):
        sample = source.read(0.0)
        clock.now += 0.1
        if sample is not None:
            times.append(round(sample.t, 3))

    assert times == sorted(set(times))
    assert times[-1] >= 1.0
    assert not source.ended


def test_an_empty_pass_ends_a_loop() -> None:
    source = Recording(
        lambda _: iter(()), period_s=1.0, realtime=True, loop=True, clock=HandClock()
    )

    assert source.read(0.0) is None
    assert source.ended
