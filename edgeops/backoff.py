"""Waiting times between attempts: decorrelated jitter, forgiven only after a session that lived."""

import random
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Backoff:
    """Gives the next waiting time in seconds.

    Each wait is drawn between ``base_s`` and three times the last one, up to ``cap_s``
    (AWS, "Exponential Backoff and Jitter", the decorrelated variant). A connection that breaks
    right after it was made does not start over: ``lived`` forgives only a session of ``stable_s``.
    """

    base_s: float = 1.0
    cap_s: float = 60.0
    stable_s: float = 60.0
    rng: random.Random = field(default_factory=random.SystemRandom)
    _last_s: float = 0.0

    def next_s(self) -> float:
        """Return how long to wait before the next attempt."""
        self._last_s = min(
            self.cap_s, self.rng.uniform(self.base_s, max(self._last_s * 3, self.base_s))
        )
        return self._last_s

    def lived(self, session_s: float) -> None:
        """Say how long the last session lived, in seconds."""
        if session_s >= self.stable_s:
            self._last_s = 0.0
