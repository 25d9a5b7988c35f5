"""Fine-tuning without labels: a compressed model learns to answer as the original does."""

from collections.abc import Callable, Iterable

from converters.arrays import Feeds
from converters.finetune.options import FinetuneOptions
from converters.graph import Graph
from edgeops.errors import MissingExtraError

__all__ = ["FinetuneOptions", "finetune"]


def finetune(
    graph: Graph,
    teacher: Graph,
    samples: Callable[[], Iterable[Feeds]],
    options: FinetuneOptions,
    say: Callable[[str], None],
) -> Graph:
    """Return ``graph`` with weights and biases trained to match ``teacher``.

    The weights of the epoch that comes closest on held-out samples win; where none comes
    closer than the start, ``graph`` is returned as it is. The same call gives the same weights.

    Args:
        graph: A normalised float graph, pruned perhaps.
        teacher: The original, with the same inputs and outputs.
        samples: Called once per epoch; yields unlabelled inputs with a batch axis of 1.
        options: How long and how fast to learn.
        say: Takes one sentence per epoch.

    Raises:
        MissingExtraError: PyTorch is not installed.
        ConversionError: There are too few samples, or training diverges.
        UnsupportedModelError: A node cannot be trained through.
    """
    try:
        from converters.finetune.training import train  # noqa: PLC0415 - PyTorch is an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "torch":
            raise
        raise MissingExtraError("edgeops convert --finetune", error.name) from error
    return train(graph, teacher, samples, options, say)
