"""What a fine-tuning recipe may say."""

import math
from dataclasses import dataclass

from edgeops.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneOptions:
    """How long and how fast a model learns from its original.

    Attributes:
        epochs: Passes over the samples.
        learning_rate: Of Adam at the start, as a share of the root mean square of each tensor
            of weights; it falls to zero along half a cosine.
        batch: Samples per step, where the model can take more than one at a time.
        seed: Of the order of samples.
        quantized: Whether training feels int8: weights are rounded per channel and activations
            per tensor on the way forward.
    """

    epochs: int = 20
    learning_rate: float = 3e-3
    batch: int = 16
    seed: int = 0
    quantized: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UsageError: A number is out of its range.
        """
        if self.epochs < 1 or self.batch < 1:
            raise UsageError("fine-tuning takes at least one epoch and one sample per step")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0.0):
            raise UsageError(f"the learning rate is more than 0, found {self.learning_rate}")
