"""What is sent next: everything gets home in the end, and never too much is on its way."""

import itertools
import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.outbox.packing import Span
from agent.outbox.sending import NextFrame, SendPlan, SendRules

RULES = SendRules()


def span(low: int, high: int, *, stream_id: int = 1, boot: str = "b") -> Span:
    return Span(stream_id=stream_id, boot=boot, stream=f"s{stream_id}", low=low, high=high)


def test_a_new_frame_goes_on_after_what_is_on_its_way() -> None:
    plan = SendPlan()
    first = plan.next_frame([span(1, 20)], 0.0)
    assert first == NextFrame(span(1, 20), 1)
    plan.sent_frame(first, 1, 10, 0.0)
    second = plan.next_frame([span(1, 20)], 0.0)
    assert second == NextFrame(span(1, 20), 11)
    plan.sent_frame(second, 11, 20, 0.0)
    assert plan.next_frame([span(1, 20)], 0.0) is None


def test_an_unanswered_frame_is_repeated_with_growing_waits_until_acknowledged() -> None:
    plan = SendPlan()
    sent_at: list[float] = []
    now = 0.0
    while len(sent_at) < 5:
        asked = plan.next_frame([span(1, 3)], now)
        if asked is not None:
            plan.sent_frame(asked, 1, 3, now)
            sent_at.append(now)
        now += 1.0
    waits = [b - a for a, b in itertools.pairwise(sent_at)]
    assert waits == [5.0, 10.0, 20.0, 40.0]
    plan.acknowledged([span(1, 3)], "b", {"s1": 3}, ())
    assert plan.on_the_way(now) == 0


def test_what_the_disk_shed_is_not_sent_again() -> None:
    plan = SendPlan()
    asked = plan.next_frame([span(1, 10)], 0.0)
    assert asked is not None
    plan.sent_frame(asked, 1, 10, 0.0)
    later = plan.next_frame([span(8, 20)], 6.0)
    assert later is not None
    assert (later.first, later.repeats) == (8, 1)
    gone = plan.next_frame([span(15, 20)], 6.0)
    assert gone is not None
    assert (gone.first, gone.repeats) == (15, None)


def test_a_repeat_that_reaches_less_far_leaves_no_hole() -> None:
    plan = SendPlan()
    for first, last in ((1, 9), (10, 20)):
        asked = plan.next_frame([span(1, 20)], 0.0)
        assert asked is not None
        plan.sent_frame(asked, first, last, 0.0)
    asked = plan.next_frame([span(1, 20)], 6.0)
    assert asked is not None
    plan.sent_frame(asked, 1, 7, 6.0)
    asked = plan.next_frame([span(1, 20)], 6.0)
    assert asked is not None
    plan.sent_frame(asked, 10, 20, 6.0)
    assert plan.next_frame([span(1, 20)], 6.0) == NextFrame(span(1, 20), 8)


def test_alerts_and_windows_never_take_all_slots_from_each_other() -> None:
    plan = SendPlan()
    for number in range(plan.alert_room(0.0)):
        plan.sent_alert(f"a{number}", 0.0)
    assert plan.alert_room(0.0) == 0
    spans = [span(1, 100, stream_id=n) for n in range(1, 9)]
    frames = 0
    while (asked := plan.next_frame(spans, 0.0)) is not None:
        plan.sent_frame(asked, asked.first, asked.first, 0.0)
        frames += 1
    assert frames == RULES.slots - RULES.share
    assert plan.on_the_way(0.0) == RULES.slots


def test_an_alert_that_nobody_answers_gives_its_slot_back() -> None:
    plan = SendPlan(rules=SendRules(slots=1, share=1))
    now = 0.0
    for _ in range(4):
        assert plan.alert_room(now) == 1
        plan.sent_alert("stuck", now)
        due = plan.next_due_s(now)
        assert due is not None
        now = due
    plan.sent_alert("stuck", now)
    assert plan.alert_room(now) == 1, "parked: others may go"
    assert "stuck" in plan.alerts_on_the_way(now)


def test_a_new_session_sends_everything_again() -> None:
    plan = SendPlan()
    plan.sent_alert("a", 0.0)
    asked = plan.next_frame([span(1, 5)], 0.0)
    assert asked is not None
    plan.sent_frame(asked, 1, 5, 0.0)
    plan.reset()
    assert plan.alerts_on_the_way(0.0) == set()
    assert plan.next_frame([span(1, 5)], 0.0) == NextFrame(span(1, 5), 1)


@dataclass
class LossyWorld:
    """A device with windows and alerts, a server that stores, and a line that loses messages."""

    rng: random.Random
    loss: float
    held: dict[int, Span]
    alerts: set[str]
    stored: dict[int, set[int]] = field(default_factory=dict)
    stored_alerts: set[str] = field(default_factory=set)
    plan: SendPlan = field(default_factory=SendPlan)
    now: float = 0.0

    def turn(self) -> None:
        plan, now = self.plan, self.now
        room = plan.alert_room(now)
        skip = plan.alerts_on_the_way(now)
        acked = []
        for event_id in sorted(self.alerts - set(skip), reverse=True)[:room]:
            plan.sent_alert(event_id, now)
            if self.arrives():
                self.stored_alerts.add(event_id)
                acked.append(event_id)
        if acked and self.arrives():
            self.alerts -= set(acked)
            plan.acknowledged(self.spans(), "b", {}, acked)
        while (asked := plan.next_frame(self.spans(), now)) is not None:
            last = min(asked.span.high, asked.first + self.rng.randrange(5))
            plan.sent_frame(asked, asked.first, last, now)
            if self.arrives():
                self.store(asked, last)
        assert plan.on_the_way(now) <= RULES.slots
        self.now = plan.next_due_s(now) or now + 1.0

    def store(self, asked: NextFrame, last: int) -> None:
        seen = self.stored.setdefault(asked.span.stream_id, set())
        seen |= set(range(asked.first, last + 1))
        upto = asked.span.low - 1
        while upto + 1 in seen:
            upto += 1
        if self.arrives():
            self.plan.acknowledged(self.spans(), "b", {asked.span.stream: upto}, ())
            if upto >= asked.span.high:
                self.held.pop(asked.span.stream_id, None)
            else:
                self.held[asked.span.stream_id] = span(
                    upto + 1, asked.span.high, stream_id=asked.span.stream_id
                )

    def spans(self) -> list[Span]:
        return list(self.held.values())

    def arrives(self) -> bool:
        return self.rng.random() >= self.loss


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 0.6), st.integers(1, 6), st.integers(0, 40))
def test_over_any_lossy_line_everything_gets_home(
    seed: int, loss: float, streams: int, alerts: int
) -> None:
    held = {n: span(1, 10 * n, stream_id=n) for n in range(1, streams + 1)}
    rng = random.Random(seed)  # noqa: S311  # repeatable, not secret
    world = LossyWorld(rng, loss, dict(held), {f"a{n:03}" for n in range(alerts)})
    for _ in range(5_000):
        if not world.held and not world.alerts:
            break
        world.turn()
    assert not world.held
    assert not world.alerts
    assert len(world.stored_alerts) == alerts
    for stream_id, was in held.items():
        assert world.stored[stream_id] == set(range(1, was.high + 1))
