"""The bounds against known values, and against themselves."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.rollouts.bounds import (
    binomial_cdf,
    e_value,
    exact_upper,
    least_to_pass,
    wilson_lower,
)


@pytest.mark.parametrize(
    ("failures", "attempted", "expected"),
    # The rate p at which (k/n - p) is 1.6449 times sqrt(p (1 - p) / n), solved by SciPy's brentq.
    [(1, 5, 0.0459625), (2, 5, 0.1427065), (5, 50, 0.0495290), (10, 100, 0.0607187), (0, 9, 0)],
)
def test_wilson_lower_bound(failures: int, attempted: int, expected: float) -> None:
    assert wilson_lower(failures, attempted) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("failures", "attempted", "expected"),
    # scipy.stats.beta.ppf(0.95, k + 1, n - k); for k = 0 it is 1 - 0.05 ** (1 / n)
    [
        (0, 10, 1 - 0.05 ** (1 / 10)),
        (0, 59, 1 - 0.05 ** (1 / 59)),
        (1, 10, 0.3941633),
        (5, 50, 0.1988330),
    ],
)
def test_exact_upper_bound(failures: int, attempted: int, expected: float) -> None:
    assert exact_upper(failures, attempted, alpha=0.05) == pytest.approx(expected, abs=1e-6)


def test_without_attempts_nothing_is_known() -> None:
    assert wilson_lower(0, 0) == 0.0
    assert exact_upper(0, 0, alpha=0.05) == 1.0
    assert e_value(0, 0, threshold=0.05) == 1.0


def test_fifty_nine_successes_are_the_least_that_prove_five_per_cent() -> None:
    assert least_to_pass(0.05, alpha=0.05) == 59
    assert exact_upper(0, 59, alpha=0.05) < 0.05 < exact_upper(0, 58, alpha=0.05)


@given(st.floats(0.001, 0.5))
def test_least_to_pass_agrees_with_the_upper_bound(threshold: float) -> None:
    least = least_to_pass(threshold, alpha=0.05)
    assert exact_upper(0, least, alpha=0.05) <= threshold * (1 + 1e-9)
    if least > 1:
        assert exact_upper(0, least - 1, alpha=0.05) >= threshold * (1 - 1e-9)


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.001, 0.999))
def test_binomial_cdf_agrees_with_the_plain_sum(failures: int, successes: int, rate: float) -> None:
    n = failures + successes
    plain = sum(math.comb(n, i) * rate**i * (1 - rate) ** (n - i) for i in range(failures + 1))
    assert binomial_cdf(failures, n, rate) == pytest.approx(plain, abs=1e-9)


@given(st.integers(0, 200), st.integers(1, 200), st.floats(0.001, 0.5))
def test_bounds_enclose_the_observed_rate(failures: int, successes: int, threshold: float) -> None:
    n = failures + successes
    lower, upper = wilson_lower(failures, n), exact_upper(failures, n, alpha=0.05)
    assert 0.0 <= lower <= failures / n <= upper <= 1.0
    assert e_value(failures, n, threshold=threshold) > 0.0


@given(st.integers(0, 30), st.floats(0.01, 0.4))
def test_e_process_cannot_be_expected_to_grow_while_the_rate_is_allowed(
    failures: int, threshold: float
) -> None:
    """One more device, failing at exactly the threshold, leaves the expected e-value as it is."""
    now = e_value(failures, 30, threshold=threshold)
    expected = threshold * e_value(failures + 1, 31, threshold=threshold) + (
        1 - threshold
    ) * e_value(failures, 31, threshold=threshold)
    assert expected == pytest.approx(now, rel=1e-9)


def test_large_stages_stay_fast_and_finite() -> None:
    assert exact_upper(5_000, 100_000, alpha=0.05) == pytest.approx(0.0512, abs=1e-4)
    assert math.isfinite(e_value(100_000, 100_000, threshold=0.001))
