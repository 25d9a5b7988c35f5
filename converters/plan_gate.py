"""Hold a written integer file against its plan: what a runtime computes is what was planned.

Gate 3 judges a file by its answers; this one by its numbers. ONNX Runtime and LiteRT run files
that were written by different code in different formats from one plan, so that each of them
agreeing with the plan's simulation says that they agree with each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from converters.arrays import Array, Feeds
from converters.graph import Graph
from converters.quant.noise import relative_noise
from converters.quant.plan import QuantPlan
from converters.quant.simulate import Simulation
from converters.variant_gate import outputs_of
from converters.variants import VariantFile
from edgeops.contracts.scalars import Layout
from edgeops.errors import ConversionError
from edgeops.inference.runtimes.loading import open_model

MAX_PLAN_NOISE: Final = 0.1
"""Error energy at which a file computes something else. Rare steps of one at each layer, which
runtimes may differ by, stay below a hundredth of it even in detectors."""

_ROW_RANK: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMatch:
    """How near a file comes to the simulation of its plan.

    Attributes:
        samples: How many samples were compared.
        noise: Squared difference over the outputs' energy, worst of all outputs.
        same_top: Share of samples whose largest score is the same one; ``None`` where no output
            is a row of scores.
        within_step: Share of output elements at most one step of their grid away; ``None``
            where the outputs are float.
    """

    samples: int
    noise: float
    same_top: float | None = None
    within_step: float | None = None

    def rounded(self) -> "PlanMatch":
        """Return the figures for documents: more digits would only tell processors apart."""
        return PlanMatch(
            samples=self.samples,
            noise=float(f"{self.noise:.1g}"),
            same_top=None if self.same_top is None else round(self.same_top, 3),
            within_step=None if self.within_step is None else round(self.within_step, 4),
        )


def require_planned(
    graph: Graph,
    plan: QuantPlan,
    path: Path,
    made: VariantFile,
    feeds: Sequence[Feeds],
    *,
    layout: Layout,
) -> PlanMatch:
    """Run a file and the simulation of its plan on the same samples.

    Args:
        graph: What the plan was made for.
        plan: What the file was written by.
        path: The file.
        made: What it is.
        feeds: Samples as the graph's inputs; at least one.
        layout: Of the graph's image inputs.

    Raises:
        InferenceError: The file does not run.
        ConversionError: It computes something else.
    """
    simulation = Simulation(graph, plan)
    expected = [simulation.run(sample) for sample in feeds]
    model = open_model(path, made.output.runtime)
    try:
        found = [outputs_of(graph, made, model, sample, layout) for sample in feeds]
    finally:
        model.close()
    match = compare(expected, found, plan)
    if not match.noise <= MAX_PLAN_NOISE:  # also refuses NaN
        raise ConversionError(
            f"{made.file} does not compute what was planned: its outputs are off by "
            f"{match.noise:.3g} of their energy, at most {MAX_PLAN_NOISE:g} is accepted"
        )
    return match


def compare(
    expected: Sequence[Mapping[str, Array]],
    found: Sequence[Mapping[str, Array]],
    plan: QuantPlan,
) -> PlanMatch:
    """Return how near ``found`` comes to ``expected``, sample by sample."""
    near = counted = same = ranked = 0
    for want, have in zip(expected, found, strict=True):
        rows = [name for name, value in want.items() if value.ndim <= _ROW_RANK and value.size > 1]
        ranked += bool(rows)
        same += bool(rows) and all(have[n].argmax() == want[n].argmax() for n in rows)
        for name, value in want.items():
            grid = plan.tensors.get(name)
            if grid is None:
                continue
            difference = np.abs(have[name].astype(np.float64) - value.astype(np.float64))
            near += int(np.count_nonzero(difference <= 1.5 * grid.scale[0]))
            counted += difference.size
    return PlanMatch(
        samples=len(expected),
        noise=relative_noise(expected, found),
        same_top=same / ranked if ranked else None,
        within_step=near / counted if counted else None,
    )
