"""Intervals hold the truth as often as they say; the harm warning rarely cries wolf."""

import numpy as np
import pytest

from converters.disparity import Units, find_harm, units
from converters.intervals import bootstrap, draws, paired_difference, spread, wilson
from converters.metrics import Truth
from converters.resampling import estimator
from edgeops.contracts.result import Box, Detection, Result


@pytest.mark.parametrize(("share", "total"), [(0.02, 100), (0.5, 60), (0.9, 200), (0.99, 400)])
def test_wilson_holds_the_true_share_about_19_times_of_20(share: float, total: int) -> None:
    hits = np.random.default_rng(3).binomial(total, share, 2000)

    inside = [wilson(int(h), total).low <= share <= wilson(int(h), total).high for h in hits]

    assert 0.92 <= np.mean(inside) <= 0.99


def test_wilson_is_the_published_example_and_never_empty() -> None:
    """81 of 263: Newcombe 1998, table I, gives 0.2553 to 0.3662."""
    found = wilson(81, 263)

    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    assert wilson(20, 20).low < 0.9
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


@pytest.mark.parametrize(("lose", "gain"), [(0.0, 0.0), (0.02, 0.02), (0.05, 0.01), (0.15, 0.05)])
def test_paired_interval_holds_the_true_drop(lose: float, gain: float) -> None:
    random = np.random.default_rng(4)
    total = 200
    inside = []
    for _ in range(1000):
        lost, gained, _ = random.multinomial(total, [lose, gain, 1 - lose - gain])
        found = paired_difference(int(lost), int(gained), total)
        inside.append(found.low <= lose - gain <= found.high)

    assert np.mean(inside) >= 0.93


def scores(random: np.random.Generator, shift: float, count: int) -> list[Result]:
    """Return the scores of normal samples, then of as many anomalies."""
    values = np.concatenate([random.normal(0, 1, count), random.normal(shift, 1, count)])
    return [Result(task="anomaly", score=float(value)) for value in values]


def test_bootstrap_holds_the_true_area() -> None:
    """Two unit normals one apart overlap such that the area is Phi(1 / sqrt 2) = 0.7602."""
    random = np.random.default_rng(5)
    truths = [Truth(label="normal")] * 40 + [Truth(label="anomaly")] * 40
    inside = []
    for _ in range(120):
        estimate = estimator("auc", scores(random, 1.0, 40), truths, ())
        assert estimate is not None
        found = spread(bootstrap([estimate], 80)[0])
        assert found is not None
        inside.append(found.low <= 0.7602 <= found.high)

    assert 0.88 <= np.mean(inside) <= 1.0


def test_resamples_are_the_same_for_the_same_seed_and_bounded() -> None:
    first, again = list(draws(50)), list(draws(50))

    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert sum(len(rows) for rows in first) == 1000
    assert all((rows.sum(axis=1) == 50).all() for rows in first)
    assert max(rows.size for rows in draws(30_000)) <= 1_000_000
    assert sum(len(rows) for rows in draws(100_000)) == 200


def test_an_interval_needs_resamples_in_which_the_figure_exists() -> None:
    assert spread(np.asarray([np.nan, np.nan, 0.5])) is None
    assert spread(np.asarray([0.5, 0.6, np.nan])) is not None
    assert spread(np.asarray([1.0, 1.0, 1.0])) is None


def simulated(
    random: np.random.Generator, sizes: list[int], lose: list[float], gain: list[float]
) -> Units:
    """Return units of classes that lose and gain right answers at their own rates."""
    groups: list[str] = []
    before: list[bool] = []
    after: list[bool] = []
    for index, (size, losing, gaining) in enumerate(zip(sizes, lose, gain, strict=True)):
        for _ in range(size):
            right = bool(random.random() < 0.85)
            changed = random.random() < (losing if right else gaining)
            groups.append(f"class {index}")
            before.append(right)
            after.append(right != changed)
    sites = [f"site {i}" for i in random.integers(0, 3, len(groups))]
    return Units(
        before=np.asarray(before),
        after=np.asarray(after),
        groups={"class": groups, "site": sites},
    )


@pytest.mark.parametrize(("lose", "gain"), [(0.03, 0.15), (0.06, 0.06), (0.15, 0.1)])
def test_even_noise_rarely_warns(lose: float, gain: float) -> None:
    random = np.random.default_rng(6)
    sizes = [150, 150, 80, 40, 20, 12]

    false = sum(
        bool(find_harm(simulated(random, sizes, [lose] * 6, [gain] * 6))) for _ in range(200)
    )

    assert false <= 10


def test_a_minority_that_suffers_is_named() -> None:
    random = np.random.default_rng(7)
    sizes, lose = [400, 400, 60], [0.02, 0.02, 0.4]

    (harm,) = find_harm(simulated(random, sizes, lose, [0.05] * 3))

    assert (harm.column, harm.value, harm.samples) == ("class", "class 2", 60)
    assert harm.drop > 0.15 > abs(harm.rest)
    assert harm.chance < 0.01
    assert "int8 hurts class 'class 2' more than the rest" in harm.sentence("int8")


def test_an_even_loss_is_no_harm_to_one_class() -> None:
    """Every class loses a fifth: bad, but the budget's business."""
    found = simulated(np.random.default_rng(8), [200] * 3, [0.2] * 3, [0.0] * 3)

    assert not find_harm(found)


def test_groups_too_small_to_judge_are_left_alone() -> None:
    found = simulated(np.random.default_rng(9), [300, 9], [0.0, 1.0], [0.0, 0.0])

    assert not find_harm(found)


def result(label: str) -> Result:
    return Result(task="classification", label=label, score=1.0)


def test_without_labels_the_originals_classes_stand_for_the_truth() -> None:
    before = [result("a")] * 40 + [result("b")] * 40
    after = [result("a")] * 40 + [result("a")] * 40

    found = units(before, after, [Truth()] * 80, {})

    assert found is not None
    assert [harm.value for harm in find_harm(found)] == ["b"]


def test_a_detectors_objects_are_judged_one_by_one() -> None:
    boxes: tuple[Box, Box] = ((0.0, 0.0, 0.2, 0.2), (0.5, 0.5, 0.7, 0.7))
    both = tuple(
        Detection(label=label, score=0.9, box=box)
        for label, box in zip(("cat", "dog"), boxes, strict=True)
    )
    before = [Result(task="detection", objects=both)] * 30
    after = [Result(task="detection", objects=both[:1])] * 30

    found = units(before, after, [Truth(objects=both)] * 30, {"site": ["x"] * 30})

    assert found is not None
    assert [(harm.column, harm.value) for harm in find_harm(found)] == [("class", "dog")]


def test_answers_without_labels_cannot_be_right_or_wrong() -> None:
    scored = [Result(task="anomaly", score=1.0)] * 20

    assert units(scored, scored, [Truth(label="normal")] * 20, {}) is None


def test_a_group_that_gains_what_it_loses_is_not_harmed() -> None:
    """All changes lie within the group, but half of them are for the better."""
    before, after = np.ones(200, np.bool_), np.ones(200, np.bool_)
    before[:20] = False
    after[20:40] = False

    found = Units(before=before, after=after, groups={"class": ["a"] * 50 + ["b"] * 150})

    assert not find_harm(found)


def test_the_interval_of_a_drop_is_never_empty() -> None:
    found = paired_difference(0, 0, 100)

    assert found.low < 0.0 < found.high
