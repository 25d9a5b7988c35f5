"""What a few observed failures say about the true failure rate. Pure arithmetic.

Three tools, each for one decision (docs: design of the gates):

* the Wilson lower bound stops a stage: cheap to compute, and its decision can be undone;
* the e-process takes bundles back: valid however often it is looked at;
* the exact (Clopper-Pearson) upper bound lets a stage pass: it never claims too much.
"""

import math
from typing import Final

Z_ONE_SIDED_95: Final = 1.6448536269514722
"""Normal quantile of 95 %."""

_SHARES: Final = (3 / 95, 7 / 95, 15 / 95, 30 / 95, 55 / 95)
"""Where the alternatives lie between the threshold and 1; for 5 %: 8, 12, 20, 35 and 60 %."""

_BISECTIONS: Final = 40


def wilson_lower(failures: int, attempted: int, *, z: float = Z_ONE_SIDED_95) -> float:
    """Return the one-sided lower bound of the failure rate, 0 to 1; 0 without attempts.

    Source: Wilson 1927; Brown, Cai and DasGupta 2001, section 3.1.1.
    """
    if attempted == 0 or failures == 0:
        return 0.0
    rate = failures / attempted
    shrink = 1 + z * z / attempted
    centre = rate + z * z / (2 * attempted)
    half = z * math.sqrt(rate * (1 - rate) / attempted + z * z / (4 * attempted**2))
    return max(0.0, (centre - half) / shrink)


def exact_upper(failures: int, attempted: int, *, alpha: float) -> float:
    """Return the one-sided upper bound of the failure rate, 0 to 1; 1 without attempts.

    Source: Clopper and Pearson 1934: the rate at which ``failures`` or fewer have chance ``alpha``.
    """
    if failures >= attempted:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if binomial_cdf(failures, attempted, middle) > alpha:
            low = middle
        else:
            high = middle
    return high


def e_value(failures: int, attempted: int, *, threshold: float) -> float:
    """Return the evidence against "the failure rate is at most ``threshold``"; 1 to begin with.

    A mixture of likelihood ratios is a supermartingale under that claim, so the chance that it
    *ever* reaches 1/alpha is at most alpha, however often one looks (Ville's inequality).

    Args:
        failures: Failures among the attempted.
        attempted: Devices that were given the bundle and took it up.
        threshold: Failure rate that is still accepted, above 0 and below 1.
    """
    total = 0.0
    for share in _SHARES:
        rate = threshold + (1 - threshold) * share
        log_ratio = failures * math.log(rate / threshold)
        log_ratio += (attempted - failures) * math.log((1 - rate) / (1 - threshold))
        total += math.exp(min(log_ratio, 600.0))  # 600: far beyond any decision, below overflow
    return total / len(_SHARES)


def least_to_pass(threshold: float, *, alpha: float) -> int:
    """Return how many devices must all succeed to prove a rate below ``threshold``.

    For 5 % at alpha 5 % this is 59.
    """
    return math.floor(math.log(alpha) / math.log(1 - threshold)) + 1


def binomial_cdf(failures: int, attempted: int, rate: float) -> float:
    """Return the chance of at most ``failures`` among ``attempted`` at ``rate``."""
    if rate <= 0.0 or failures >= attempted:
        return 1.0
    if rate >= 1.0:
        return 0.0
    log_rate, log_rest = math.log(rate), math.log1p(-rate)
    log_term = attempted * log_rest
    terms = [log_term]
    for i in range(1, failures + 1):
        log_term += math.log((attempted - i + 1) / i) + log_rate - log_rest
        terms.append(log_term)
    largest = max(terms)
    return min(1.0, math.exp(largest) * math.fsum(math.exp(term - largest) for term in terms))
