"""Distillation: the smaller graph learns the original's answers on unlabelled samples.

Source: Hinton et al. 2015 for learning from another model's answers instead of labels.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch.nn import functional

from converters.arrays import Array, Feeds, as_floats
from converters.finetune.fake_quantization import FakeQuantization
from converters.finetune.options import FinetuneOptions
from converters.finetune.torch_graph import TorchGraph, to_torch
from converters.graph import Graph
from converters.onnx_format import serialize
from converters.ort import OrtModel
from edgeops.errors import ConversionError

HELD_OUT_EVERY: Final = 8
"""Every eighth sample chooses the epoch and is never trained on."""
FEWEST: Final = 16
SHUFFLED: Final = 1024
"""So many samples are in memory at a time, to be put in another order."""
LARGEST_STEP: Final = 1.0
SMALLEST_ENERGY: Final = 1e-30
SMALLEST_SIZE: Final = 1e-3
"""Size that is assumed of weights and biases that are zero."""
TOLERANCE: Final = 1e-3
"""Relative; what PyTorch and ONNX Runtime may differ by before training starts."""


@dataclass(frozen=True, slots=True)
class Aim:
    """A tensor that the two graphs should agree on; ``axis`` if it feeds a softmax."""

    student: str
    teacher: str
    axis: int | None


def train(
    graph: Graph,
    teacher: Graph,
    samples: Callable[[], Iterable[Feeds]],
    options: FinetuneOptions,
    say: Callable[[str], None],
) -> Graph:
    """Return ``graph`` trained to match ``teacher``; see ``converters.finetune.finetune``."""
    with _repeatable(options.seed):
        trainer = _Trainer(graph, teacher, samples, options)
        return trainer.run(say)


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """Make PyTorch repeat itself to the bit, and give it back as it was."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        torch.set_rng_state(state)


class _Trainer:
    """One run of training: the student, the teacher's answers and the order of samples."""

    def __init__(
        self,
        graph: Graph,
        teacher: Graph,
        samples: Callable[[], Iterable[Feeds]],
        options: FinetuneOptions,
    ) -> None:
        if graph.outputs != teacher.outputs or graph.inputs != teacher.inputs:
            raise ConversionError("model and original must have the same inputs and outputs")
        first = [_copy(feeds) for feeds in itertools.islice(samples(), FEWEST)]
        if len(first) < FEWEST:
            raise ConversionError(
                f"fine-tuning needs at least {FEWEST} samples, found {len(first)}"
            )
        self._samples = samples
        self._options = options
        self._aims = _aims(graph, teacher)
        extra = tuple(a.teacher for a in self._aims if a.teacher not in teacher.outputs)
        self._teacher = OrtModel(serialize(replace(teacher, outputs=teacher.outputs + extra)))
        self._rounding = FakeQuantization() if options.quantized else None
        self._student = TorchGraph(graph, self._rounding)
        self._batch = self._largest_batch(graph, first)
        self._held_out = [
            _copy(feeds)
            for number, feeds in enumerate(samples())
            if number % HELD_OUT_EVERY == 0 and number < HELD_OUT_EVERY * SHUFFLED
        ]
        wanted = self._wanted(self._held_out)
        self._energy: dict[str, float] = {
            name: max(float(value.pow(2).mean()), SMALLEST_ENERGY) for name, value in wanted.items()
        }

    def run(self, say: Callable[[str], None]) -> Graph:
        """Train and return the graph with the best weights."""
        best_error = self._error()
        best = self._student.snapshot()
        start = best_error
        optimizer = torch.optim.Adam(
            [{"params": [value], "size": _size(value)} for value in self._parameters()]
        )
        for epoch in range(self._options.epochs):
            progress = epoch / self._options.epochs
            rate = self._options.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
            for group in optimizer.param_groups:
                group["lr"] = rate * group["size"]
            for batch in self._batches(epoch):
                optimizer.zero_grad()
                loss = self._loss(batch)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self._parameters(), LARGEST_STEP)
                optimizer.step()
            error = self._error()
            if not math.isfinite(error):
                raise ConversionError(
                    f"fine-tuning diverges in epoch {epoch + 1}: lower the learning rate"
                )
            say(
                f"fine-tuning, epoch {epoch + 1} of {self._options.epochs}: "
                f"distance to the original {error:.4g} (at the start {start:.4g})"
            )
            if error < best_error:
                best_error, best = error, self._student.snapshot()
        return self._student.written(best)

    def _parameters(self) -> list[torch.Tensor]:
        return list(self._student.parameters.values())

    def _batches(self, epoch: int) -> Iterator[list[Feeds]]:
        rng = np.random.default_rng([self._options.seed, epoch])
        stream = (
            _copy(feeds) for number, feeds in enumerate(self._samples()) if number % HELD_OUT_EVERY
        )
        while shelf := list(itertools.islice(stream, SHUFFLED)):
            order = rng.permutation(len(shelf))
            for start in range(0, len(shelf), self._batch):
                yield [shelf[index] for index in order[start : start + self._batch]]

    def _loss(self, batch: Sequence[Feeds]) -> torch.Tensor:
        found = self._student.run(to_torch(batch), [aim.student for aim in self._aims])
        wanted = self._wanted(batch)
        return sum(
            _distance(mine, wanted[aim.teacher], aim.axis, self._energy[aim.teacher])
            for mine, aim in zip(found, self._aims, strict=True)
        )

    def _wanted(self, batch: Sequence[Feeds]) -> Mapping[str, torch.Tensor]:
        names = [aim.teacher for aim in self._aims]
        answers = [self._teacher.run(feeds, names) for feeds in batch]
        return {
            name: torch.from_numpy(np.concatenate([as_floats(a[name]) for a in answers]))
            for name in names
        }

    def _error(self) -> float:
        if self._rounding is not None:
            self._rounding.learning = False
        with torch.no_grad():
            parts = [float(self._loss([feeds])) for feeds in self._held_out]
        if self._rounding is not None:
            self._rounding.learning = True
        return sum(parts) / len(parts)

    def _largest_batch(self, graph: Graph, samples: Sequence[Feeds]) -> int:
        """Hold PyTorch against ONNX Runtime; return how many samples go at a time.

        A graph that was made for a batch of one may mix samples: then one it is.
        """
        exact = OrtModel(serialize(graph))
        plain = TorchGraph(graph)
        pair = list(samples[:2])
        expected = [exact.run(feeds) for feeds in pair]
        with torch.no_grad():
            single = plain.run(to_torch(pair[:1]), graph.outputs)
            for name, value in zip(graph.outputs, single, strict=True):
                if not _close(value.numpy(), expected[0][name]):
                    raise ConversionError(
                        f"PyTorch does not compute what ONNX Runtime does at {name!r}: "
                        "the model cannot be fine-tuned"
                    )
            try:
                both = plain.run(to_torch(pair), graph.outputs)
            except RuntimeError:
                return 1
        for name, value in zip(graph.outputs, both, strict=True):
            whole = np.concatenate([answer[name] for answer in expected])
            if value.shape != whole.shape or not _close(value.numpy(), whole):
                return 1
        return self._options.batch


def _copy(feeds: Feeds) -> Feeds:
    """Return a sample that stays as it is when the next one is read."""
    return {name: np.array(value) for name, value in feeds.items()}


def _size(value: torch.Tensor) -> float:
    """Return the root mean square of a tensor, by which its steps are measured.

    Folding BatchNormalization leaves layers whose weights differ by orders of magnitude: one
    step for all would wipe some out before others move. Source: Shazeer and Stern 2018,
    "Adafactor", section 8, relative step sizes.
    """
    return max(float(value.detach().pow(2).mean().sqrt()), SMALLEST_SIZE)


def _close(found: Array, wanted: Array) -> bool:
    exact = as_floats(wanted)
    margin = TOLERANCE * max(float(np.abs(exact).max(initial=0.0)), 1e-6)
    return bool(np.abs(as_floats(found) - exact).max(initial=0.0) <= margin)


def _aims(graph: Graph, teacher: Graph) -> tuple[Aim, ...]:
    """Return what to compare: outputs, or where these are softmaxes, what they read."""
    mine, theirs = graph.producers(), teacher.producers()
    aims: list[Aim] = []
    for name in graph.outputs:
        if graph.dtype(name) != np.float32:
            continue
        here, there = mine.get(name), theirs.get(name)
        if here is not None and there is not None and here.op == there.op == "Softmax":
            axis = here.attributes.get("axis", -1)
            aims.append(Aim(here.inputs[0], there.inputs[0], axis if isinstance(axis, int) else -1))
        else:
            aims.append(Aim(name, name, None))
    if not aims:
        raise ConversionError("the model has no floating-point output to learn")
    return tuple(aims)


def _distance(
    found: torch.Tensor, wanted: torch.Tensor, axis: int | None, energy: float
) -> torch.Tensor:
    """Return the squared distance over ``energy``, plus the divergence of two softmaxes."""
    squares = (found - wanted).pow(2).mean() / energy
    if axis is None:
        return squares
    mine, theirs = torch.log_softmax(found, dim=axis), torch.log_softmax(wanted, dim=axis)
    divergence = functional.kl_div(mine, theirs, reduction="none", log_target=True)
    return divergence.sum(dim=axis).mean() + squares
