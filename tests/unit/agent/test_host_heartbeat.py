"""When a pipe counts as stuck."""

import os

from agent.heartbeat import Beat, Heartbeat, Stage, StuckJudge, limit_s


def test_both_ends_see_the_same_page() -> None:
    descriptor = Heartbeat.new_descriptor()
    ours, theirs = Heartbeat(descriptor), Heartbeat(descriptor)
    os.close(descriptor)
    assert ours.read() == Beat(0, Stage.START)

    theirs.enter(Stage.INFER)
    theirs.enter(Stage.EMIT)

    assert ours.read() == Beat(2, Stage.EMIT)
    ours.close()
    theirs.close()


def test_progress_in_the_same_stage_is_progress() -> None:
    judge = StuckJudge(0.0)

    assert not any(judge.is_stuck(Beat(i, Stage.INFER), i * 4.0, 0.01) for i in range(1, 20))


def test_a_stage_that_lasts_too_long_is_stuck() -> None:
    judge = StuckJudge(0.0)
    beat = Beat(7, Stage.INFER)

    assert not judge.is_stuck(beat, 1.0, 0.01)
    assert not judge.is_stuck(beat, 5.9, 0.01)
    assert judge.is_stuck(beat, 6.1, 0.01)


def test_slow_models_and_loading_have_more_time() -> None:
    assert limit_s(Stage.INFER, p99_s=2.0) == 20.0
    assert limit_s(Stage.READ, p99_s=0.0) == 5.0
    assert limit_s(Stage.LOAD, p99_s=0.0) == 60.0


def test_a_pipe_that_waits_for_its_supervisor_is_not_stuck_until_there_is_nothing_to_read() -> None:
    judge = StuckJudge(0.0)
    beat = Beat(1, Stage.EMIT)

    assert not judge.is_stuck(beat, 0.0, 0.0)
    assert not judge.is_stuck(beat, 100.0, 0.0, heard=True)  # we were slow: it had to wait
    assert not judge.is_stuck(beat, 104.9, 0.0)
    assert judge.is_stuck(beat, 105.1, 0.0)
