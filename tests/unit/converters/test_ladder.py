"""The ladder decides from numbers alone: each rung's drop is given, its choices are watched."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from converters.quant.ladder import MAX_FLOAT_SHARE, Attempt, Climb, Options, Rung, climb, is_within

PLAIN = Options(max_drop=0.01)
LAYERS = tuple(f"layer{index:02}" for index in range(20))


def run(
    drop: Callable[[Rung], float],
    *,
    noise: Callable[[Rung], float] = lambda _: 0.1,
    options: Options = PLAIN,
) -> Climb:
    return climb(lambda rung: Attempt(rung, drop(rung), noise(rung)), lambda _: LAYERS, options)


def test_first_rung_within_budget_ends_the_climb() -> None:
    way = run(lambda _: 0.0)

    assert [attempt.rung.name for attempt in way.attempts] == ["minmax"]
    assert way.chosen == way.attempts[0]


def test_rungs_come_in_the_order_of_their_cost() -> None:
    way = run(lambda _: 0.5, options=Options(max_drop=0.01, can_equalize=True, heads=LAYERS[:2]))

    assert [attempt.rung.name for attempt in way.attempts] == [
        "minmax",
        "auto",
        "minmax+bias",
        "minmax+rounded+bias",
        "minmax+equalized",
        "minmax+rounded+bias+2-float",
        "minmax+rounded+bias+1-float",
        "minmax+rounded+bias+2-float",
        "minmax+rounded+bias+4-float",
        "minmax+rounded+bias+8-float",
    ]
    assert way.chosen is None


def test_later_rungs_build_on_the_least_noise_among_equal_drops() -> None:
    way = run(lambda _: 0.5, noise=lambda rung: 0.05 if rung.method == "auto" else 0.1)

    assert way.attempts[2].rung == Rung("auto", corrected=True)
    assert {attempt.rung.method for attempt in way.attempts[3:]} == {"auto"}


def test_rung_that_costs_accuracy_is_not_built_on_whatever_its_noise() -> None:
    way = run(
        lambda rung: 0.9 if rung.equalized else 0.5,
        noise=lambda rung: 0.05 if rung.equalized else 0.1,
        options=Options(max_drop=0.01, can_equalize=True),
    )

    assert way.attempts[4].rung.equalized
    assert not any(attempt.rung.equalized for attempt in way.attempts[5:])


def test_number_of_float_layers_is_halved_back_to_the_smallest_that_is_enough() -> None:
    way = run(lambda rung: 0.0 if len(rung.keep_float) >= 6 else 0.5)

    tried = [len(attempt.rung.keep_float) for attempt in way.attempts if attempt.rung.keep_float]
    assert tried == [1, 2, 4, 8, 6, 5]
    assert way.chosen is not None
    assert way.chosen.rung.keep_float == LAYERS[:6]


def test_corrections_wait_until_no_layer_is_wild_any_more() -> None:
    way = run(
        lambda rung: 0.0 if len(rung.keep_float) >= 2 and rung.rounded else 0.5,
        noise=lambda rung: 0.9 if len(rung.keep_float) < 2 else 0.05,
    )

    assert [attempt.rung.name for attempt in way.attempts] == [
        "minmax",
        "auto",
        "minmax+1-float",
        "minmax+2-float",
        "minmax+rounded+bias+2-float",
    ]
    assert way.chosen == way.attempts[-1]


def test_heads_that_are_enough_give_way_to_fewer_layers_that_are_too() -> None:
    heads = LAYERS[10:16]
    way = run(
        lambda rung: 0.0 if LAYERS[0] in rung.keep_float or len(rung.keep_float) == 6 else 0.5,
        options=Options(max_drop=0.01, heads=heads),
    )

    assert way.chosen is not None
    assert way.chosen.rung.keep_float == LAYERS[:1]


def test_what_the_user_wants_holds_on_every_rung() -> None:
    way = run(
        lambda _: 0.5,
        options=Options(
            max_drop=0.01, method="entropy", keep_float=("mine",), can_equalize=True,
            equalize_first=True,
        ),
    )  # fmt: skip

    assert {attempt.rung.method for attempt in way.attempts} == {"entropy"}
    assert all("mine" in attempt.rung.keep_float for attempt in way.attempts)
    assert all(attempt.rung.equalized for attempt in way.attempts)


@given(st.integers(1, 30), st.booleans(), st.integers(0, 6))
def test_climb_ends_and_chooses_only_what_is_within_budget(
    enough: int, can_equalize: bool, heads: int
) -> None:
    way = run(
        lambda rung: 0.01 if len(rung.keep_float) >= enough else 0.02,
        options=Options(max_drop=0.01, can_equalize=can_equalize, heads=LAYERS[:heads]),
    )

    assert len(way.attempts) <= 15
    if enough <= len(LAYERS) * MAX_FLOAT_SHARE / 2:
        assert way.chosen is not None
    if way.chosen is not None:
        assert way.chosen in way.attempts
        assert is_within(way.chosen.drop, 0.01)


def test_names_say_what_was_done() -> None:
    full = Rung("auto", ("a", "b"), equalized=True, corrected=True, rounded=True)
    assert full.name == "auto+equalized+rounded+bias+2-float"
    assert Rung("minmax", precision="int16x8").name == "int16x8:minmax"
    assert Rung("minmax", precision="float16").name == "float16"
