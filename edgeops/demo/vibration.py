"""Acceleration at a motor's bearing housing, made from a seed.

Healthy: the shaft's harmonics, fan blades, mains hum and noise, under changing load and speed.
Fault: a pit in the outer race is hit by every ball (3.57 times per turn for this bearing) and
each hit rings the housing. Model: Randall and Antoni 2011, "Rolling element bearing diagnostics".
"""

import math
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeops.errors import ContractError

Signal: TypeAlias = npt.NDArray[np.float32]
"""Acceleration in g (9.81 m/s2), one value per 1/1024 s."""

RATE_HZ: Final = 1024
MAX_SECONDS: Final = 3600.0
SHAFT_HZ: Final = 24.7
HITS_PER_TURN: Final = 3.57
RESONANCE_HZ: Final = 330.0
RING_S: Final = 0.006
_HIT_G: Final = 0.55
_HARMONICS: Final = ((1, 0.30), (2, 0.12), (3, 0.06), (9, 0.05))  # the ninth: fan blades


def vibration(rng: np.random.Generator, seconds: float, fault: float | Signal) -> Signal:
    """Return ``round(seconds * RATE_HZ)`` values in g.

    Args:
        rng: Chooses load, speed, noise and the scatter of the hits.
        seconds: Up to ``MAX_SECONDS``.
        fault: 0 = healthy, 1 = pitted race; one number or one per value.

    Raises:
        ContractError: A figure is out of its range.
    """
    if not 0.0 < seconds <= MAX_SECONDS:
        raise ContractError("seconds", f"expected 0 to {MAX_SECONDS:.0f}, found {seconds}")
    count = round(seconds * RATE_HZ)
    severity = np.broadcast_to(np.asarray(fault, dtype=np.float64), (count,))
    if not ((severity >= 0.0) & (severity <= 1.0)).all():
        raise ContractError("fault", "expected 0 to 1")
    t = np.arange(count) / RATE_HZ
    load = 1.0 + rng.uniform(-0.2, 0.2) + 0.15 * _wander(rng, t)
    speed_hz = SHAFT_HZ * (1.0 + rng.uniform(-0.04, 0.04) + 0.01 * _wander(rng, t))
    turns = np.cumsum(speed_hz) / RATE_HZ + rng.uniform()

    value = np.zeros(count)
    for order, amplitude in _HARMONICS:
        phase = rng.uniform(0.0, 2 * math.pi)
        value += amplitude * load * np.sin(2 * math.pi * order * turns + phase)
    value += 0.03 * np.sin(2 * math.pi * 100.0 * t + rng.uniform(0.0, 2 * math.pi))
    value += _rumble(rng, count)
    value += _ringing(rng, turns, severity * load)
    return value.astype(np.float32)


def _wander(rng: np.random.Generator, t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return a slow change between about -1 and 1: three sines of 5 to 30 s."""
    waves = [np.sin(2 * math.pi * (t / rng.uniform(5.0, 30.0) + rng.uniform())) for _ in range(3)]
    together: npt.NDArray[np.float64] = np.sum(waves, axis=0)
    return together / math.sqrt(len(waves))


def _rumble(rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """Return broadband noise, stronger at low frequency; its level differs between machines."""
    level = rng.uniform(0.7, 1.4)
    white = rng.normal(0.0, 0.05, count + 15)
    low = np.convolve(white, np.full(16, 1 / 4.0), mode="valid")
    return level * (white[:count] + 0.5 * low)


def _ringing(
    rng: np.random.Generator,
    turns: npt.NDArray[np.float64],
    strength: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the housing's answer to the hits; balls slip, so hits scatter by a percent."""
    first, last = turns[0] * HITS_PER_TURN, turns[-1] * HITS_PER_TURN
    numbers = np.arange(math.ceil(first), math.floor(last) + 1)
    scattered = numbers + rng.normal(0.0, 0.01, numbers.size)
    places = np.searchsorted(turns * HITS_PER_TURN, scattered).clip(0, turns.size - 1)
    hits = np.zeros(turns.size)
    np.add.at(hits, places, _HIT_G * rng.normal(1.0, 0.2, places.size))
    ring_t = np.arange(round(6 * RING_S * RATE_HZ)) / RATE_HZ
    answer = np.exp(-ring_t / RING_S) * np.sin(2 * math.pi * RESONANCE_HZ * ring_t)
    return np.convolve(hits * strength, answer)[: turns.size]
