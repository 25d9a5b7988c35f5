"""Who comes when: fair, repeatable, and never the same canary by accident."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fleet.rollouts.cohorts import Candidate, ordered, sizes
from fleet.rollouts.spec import StageSpec, staged

FLEET = [
    Candidate(device=f"d{i:03d}", board="pi5" if i % 4 == 0 else "pi4", site=f"s{i % 3}")
    for i in range(120)
]


def test_order_is_the_same_again_and_another_with_another_salt() -> None:
    order = ordered(FLEET, salt="a")
    assert sorted(order) == sorted(c.device for c in FLEET)
    assert ordered(reversed(FLEET), salt="a") == order
    assert ordered(FLEET, salt="b") != order


def test_every_prefix_holds_each_kind_in_proportion() -> None:
    kinds = {c.device: (c.board, c.site) for c in FLEET}
    totals = Counter(kinds.values())
    order = ordered(FLEET, salt="a")
    for length in range(1, len(order) + 1):
        seen = Counter(kinds[device] for device in order[:length])
        for kind, total in totals.items():
            assert abs(seen[kind] - total * length / len(order)) < 2


def test_no_device_is_always_the_canary() -> None:
    first = Counter(ordered(FLEET, salt=str(i))[0] for i in range(60))
    assert first.most_common(1)[0][1] < 10


def test_kinds_of_one_device_do_not_all_come_first() -> None:
    singles = [Candidate(device=f"x{i}", board=f"odd{i}") for i in range(20)]
    order = ordered([*FLEET, *singles], salt="a")
    assert sum(device.startswith("x") for device in order[:14]) < 10


def test_sizes_are_what_each_stage_adds() -> None:
    assert sizes(staged(canary=5, percents=[25, 100]), 100) == (5, 20, 75)
    assert sizes(staged(canary=5, percents=[25, 100]), 3) == (3, 0, 0)
    assert sizes(staged(canary=1, percents=[10, 50]), 12) == (1, 1, 4, 6)
    assert sizes((StageSpec(percent=10), StageSpec(percent=100)), 10) == (1, 9)


@given(st.integers(1, 2000), st.lists(st.floats(0.1, 99.9), unique=True, max_size=6))
def test_stages_together_are_the_whole_fleet(members: int, percents: list[float]) -> None:
    added = sizes(staged(percents=sorted(percents)), members)
    assert sum(added) == members
    assert min(added) >= 0
