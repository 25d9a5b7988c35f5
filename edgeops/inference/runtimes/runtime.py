"""What every runtime offers: a loaded model file that turns tensors into tensors."""

from collections.abc import Sequence
from typing import Protocol

from edgeops.contracts.manifest import TensorSpec
from edgeops.inference.arrays import Array


class RuntimeModel(Protocol):
    """A loaded model file; used by one thread at a time."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return the inputs as the file declares them, a symbolic batch axis as 1."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Return the outputs as the file declares them, symbolic axes as 1."""
        ...

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        """Return the outputs for one tensor per input, in arrays that the caller owns.

        Args:
            tensors: Of exactly the shape and element type of ``inputs``, contiguous.

        Raises:
            InferenceError: The runtime refused the tensors or failed.
        """
        ...

    def close(self) -> None:
        """Free the model; it cannot run any more."""
        ...
