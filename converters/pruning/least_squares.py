"""Ridge regression from running sums: memory does not grow with the number of rows."""

from typing import Final

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

RIDGES: Final = (1e-4, 1e-3, 1e-2, 1e-1)
"""Tried in turn, relative to the mean energy of an input."""


class NormalEquations:
    """Sums of products of inputs and targets, for several independent parts at once.

    Args:
        groups: Number of parts.
        inputs: Inputs per part, the constant one included.
        outputs: Targets per part.
    """

    def __init__(self, groups: int, inputs: int, outputs: int) -> None:
        self.gram: Doubles = np.zeros((groups, inputs, inputs))
        self.cross: Doubles = np.zeros((groups, inputs, outputs))
        self.energy: Doubles = np.zeros(groups)
        self.rows = 0

    def add(self, inputs: Doubles, targets: Doubles) -> None:
        """Take rows in: ``(rows, groups, inputs)`` and ``(rows, groups, outputs)``."""
        left = inputs.transpose(1, 2, 0)
        self.gram += left @ inputs.transpose(1, 0, 2)
        self.cross += left @ targets.transpose(1, 0, 2)
        self.energy += (targets**2).sum(axis=(0, 2))
        self.rows += len(inputs)

    def merged(self, other: "NormalEquations") -> "NormalEquations":
        """Return the sums over the rows of both."""
        both = NormalEquations(*self.cross.shape)
        both.gram, both.cross = self.gram + other.gram, self.cross + other.cross
        both.energy, both.rows = self.energy + other.energy, self.rows + other.rows
        return both

    def error(self, weights: Doubles) -> float:
        """Return the squared error of ``weights``, ``(groups, inputs, outputs)``, over all rows."""
        fitted = (weights * (self.gram @ weights)).sum()
        missed = self.energy.sum() - 2.0 * (weights * self.cross).sum() + fitted
        return max(float(missed), 0.0)

    def solve(self, start: Doubles, ridge: float, *, constant: bool) -> Doubles:
        """Return the weights of least error, drawn towards ``start``.

        Args:
            start: Present weights.
            ridge: Strength of the pull, relative to the mean energy of an input.
            constant: Whether the last input is the constant one, which is not held back.

        Raises:
            numpy.linalg.LinAlgError: The sums cannot be solved.
        """
        width = start.shape[1]
        diagonal = np.einsum("gii->gi", self.gram)
        strength = ridge * diagonal[:, : width - constant].mean(axis=1) if width > constant else 0.0
        held = np.ones(width)
        if constant:
            held[-1] = 0.0
        floor = 1e-12 * self.rows
        penalty = np.einsum("g,i->gi", np.asarray(strength).reshape(-1), held) + floor
        system = self.gram + penalty[:, :, None] * np.eye(width)
        change: Doubles = np.linalg.solve(system, self.cross - self.gram @ start)
        return start + change


def refit(
    fit: NormalEquations, check: NormalEquations, start: Doubles, *, constant: bool
) -> Doubles | None:
    """Return better weights than ``start``, or ``None`` where there are none.

    The strength of the ridge is the one that errs least on the rows of ``check``, which it
    has not seen; the answer then uses all rows.
    """
    best, found = check.error(start), None
    for ridge in RIDGES:
        try:
            error = check.error(fit.solve(start, ridge, constant=constant))
        except np.linalg.LinAlgError:
            continue
        if error < best:
            best, found = error, ridge
    if found is None:
        return None
    weights = fit.merged(check).solve(start, found, constant=constant)
    return weights if np.isfinite(weights).all() else None
