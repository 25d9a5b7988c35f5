"""Round weights up or down such that errors cancel at the layer's output.

Rounding each weight to the nearest step is best only if inputs do not go together. They do:
neighbouring pixels and channels are alike, so that the error of one weight can be made up for
by the next ones. Weights are fixed one after the other; what is left of each is spread over
those still free, by the inverse of the inputs' second moments.

Source: Frantar et al. 2023, "GPTQ", after Hassibi and Stork 1993, "Optimal Brain Surgeon".
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from converters.arrays import Array, Feeds, as_floats
from converters.graph import Graph, Node
from converters.quant.patches import Patches, patches_of
from converters.quant.plan import GRID_BOUNDS, Grid, QuantPlan
from converters.segments import SegmentedModel, cuts_by_memory

MAX_MOMENT_BYTES: Final = 48 << 20
"""Second moments held at a time; more layers take another pass over the samples."""

DAMPING: Final = 0.01
"""Share of the mean second moment added to each, against inputs that never vary."""

_Matrix = npt.NDArray[np.float64]


def round_weights(graph: Graph, plan: QuantPlan, samples: Sequence[Feeds]) -> dict[str, Array]:
    """Return weight name -> weights that lie on the plan's grid, rounded to fit the samples.

    Rounding is tried on every second sample. A channel for which it does worse on the
    samples between than the nearest steps gets the nearest steps, the others what fits all
    samples.

    Args:
        graph: The float graph that the plan was made for.
        plan: Its weight grids stay as they are.
        samples: Calibration samples; with less than two nothing is rounded.
    """
    layers = [
        (node, patches_of(graph, node)) for node in graph.nodes if _has_own(graph, plan, node)
    ]
    found: dict[str, Array] = {}
    if len(samples) < 2:  # noqa: PLR2004 - one to find, one to judge
        return found
    for batch in _batches([(node, patches) for node, patches in layers if patches is not None]):
        moments = _moments(graph, batch, samples)
        for node, _ in batch:
            name = node.inputs[1]
            found[name] = _rounded(graph.constants[name], plan.tensors[name], moments[node.name])
    return found


def _has_own(graph: Graph, plan: QuantPlan, node: Node) -> bool:
    """Whether ``node`` is an integer layer whose weights nothing else reads."""
    if node.op not in ("Conv", "Gemm") or node.name not in plan.quantized:
        return False
    return sum(node.inputs[1] in other.inputs for other in graph.nodes) == 1


def _batches(
    layers: Sequence[tuple[Node, Patches]],
) -> Iterator[list[tuple[Node, Patches]]]:
    """Yield layers in portions whose second moments fit into memory."""
    batch: list[tuple[Node, Patches]] = []
    held = 0
    for node, patches in layers:
        size = 2 * 8 * patches.groups * patches.columns**2
        if batch and held + size > MAX_MOMENT_BYTES:
            yield batch
            batch, held = [], 0
        batch.append((node, patches))
        held += size
    if batch:
        yield batch


def _moments(
    graph: Graph, batch: Sequence[tuple[Node, Patches]], samples: Sequence[Feeds]
) -> dict[str, _Matrix]:
    """Return layer -> second moments of its inputs: ``(2, groups, columns, columns)``.

    The first is of every second sample, the other of those between.
    """
    wanted = {node.inputs[0] for node, _ in batch}
    model = SegmentedModel(graph, cuts_by_memory(graph, wanted), wanted - {*graph.inputs})
    found = {
        node.name: np.zeros((2, patches.groups, patches.columns, patches.columns))
        for node, patches in batch
    }
    for number, feeds in enumerate(samples):
        for made in (feeds, *model.run(feeds)):
            for node, patches in batch:
                if node.inputs[0] in made:
                    rows = patches.cut(made[node.inputs[0]])
                    found[node.name][number % 2] += rows.transpose(0, 2, 1) @ rows
    return found


def _rounded(weights: Array, grid: Grid, moments: _Matrix) -> Array:
    """Return the weights of one layer on its grid, channel by channel the better way.

    Args:
        weights: ``(channels, ...)``.
        grid: Theirs.
        moments: See ``_moments``.
    """
    groups, columns = moments.shape[1:3]
    exact = weights.astype(np.float64).reshape(groups, -1, columns)
    scale = np.broadcast_to(
        np.asarray(grid.scale, np.float32).astype(np.float64), weights.shape[:1]
    )
    step = scale.reshape(groups, -1)
    nearest = _on_grid(exact / step[..., None])
    fitted = _fit(exact / step[..., None], moments[0])
    worse = _harm(exact, fitted * step[..., None], moments[1]) >= _harm(
        exact, nearest * step[..., None], moments[1]
    )
    steps = np.where(worse[..., None], nearest, _fit(exact / step[..., None], moments.sum(axis=0)))
    return as_floats((steps * step[..., None]).reshape(weights.shape))


def _on_grid(steps: _Matrix) -> _Matrix:
    high = GRID_BOUNDS["int8"][1]
    return np.clip(np.rint(steps), -high, high)


def _harm(exact: _Matrix, rounded: _Matrix, moments: _Matrix) -> _Matrix:
    """Return the squared error at the output, ``(groups, channels)``."""
    error = exact - rounded
    return np.asarray(np.sum((error @ moments) * error, axis=-1))


def _fit(steps: _Matrix, moments: _Matrix) -> _Matrix:
    """Return whole steps for weights given in steps, errors made up for by later columns.

    Args:
        steps: ``(groups, channels, columns)``.
        moments: ``(groups, columns, columns)``.
    """
    size = np.trace(moments, axis1=1, axis2=2)[:, None, None] / moments.shape[1]
    # The strongest inputs first, while there are many left to make up for them.
    order = np.argsort(-np.diagonal(moments, axis1=1, axis2=2), axis=1, kind="stable")
    sorted_ = np.take_along_axis(moments, order[:, :, None], 1)
    sorted_ = np.take_along_axis(sorted_, order[:, None, :], 2)
    # Inputs that are always zero (size 0) get the identity: the nearest steps.
    damped = sorted_ + np.where(size > 0, DAMPING * size, 1.0) * np.eye(moments.shape[1])
    spread = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    left = np.take_along_axis(steps, order[:, None, :], 2)
    whole = np.empty_like(left)
    for column in range(moments.shape[1]):
        whole[..., column] = _on_grid(left[..., column])
        error = (left[..., column] - whole[..., column]) / spread[:, column, column, None]
        left[..., column + 1 :] -= error[..., None] * spread[:, None, column, column + 1 :]
    result = np.empty_like(steps)
    np.put_along_axis(result, np.broadcast_to(order[:, None, :], steps.shape), whole, 2)
    return result
