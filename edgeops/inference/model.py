"""A bundle's variant as one callable: raw sample in, result out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from edgeops.bundle import Bundle
from edgeops.contracts.manifest import InputSpec, Task, TensorSpec, Variant
from edgeops.contracts.preprocess import ColorOrder
from edgeops.contracts.result import Result
from edgeops.contracts.scalars import Runtime
from edgeops.errors import BadOutputError, InferenceError
from edgeops.inference.arithmetic import dequantize
from edgeops.inference.arrays import Array, Floats
from edgeops.inference.packing import Prepared
from edgeops.inference.postprocess.anomaly import needs_features
from edgeops.inference.postprocess.decoder import decoder_for
from edgeops.inference.preprocess import Preprocessor
from edgeops.inference.runtimes.loading import check_specs, open_model
from edgeops.inference.runtimes.runtime import RuntimeModel


class Model:
    """A loaded model with its pre- and post-processing; used by one thread at a time.

    ``predict`` is ``preprocess``, ``infer`` and ``decode`` in a row; callers that time the stages
    call them one by one.

    Args:
        runtime: The loaded model file.
        task: What its outputs mean.
        spec: What its input goes through.
        inputs: The manifest's word on the input tensors; by default the file's own.
        outputs: Likewise.

    Raises:
        InferenceError: File, task and pre-processing do not fit together.
    """

    def __init__(
        self,
        runtime: RuntimeModel,
        *,
        task: Task,
        spec: InputSpec,
        inputs: tuple[TensorSpec, ...] | None = None,
        outputs: tuple[TensorSpec, ...] | None = None,
    ) -> None:
        self.task = task
        self.inputs = runtime.inputs if inputs is None else inputs
        self.outputs = runtime.outputs if outputs is None else outputs
        if len(self.inputs) != 1:
            raise InferenceError(f"the model has {len(self.inputs)} inputs, one can be fed")
        self._runtime = runtime
        self._preprocess = Preprocessor(spec, self.inputs[0], keep_features=needs_features(task))
        self._decode = decoder_for(task, self.inputs, self.outputs)

    @classmethod
    def load(cls, bundle: Bundle, variant: Variant, *, threads: int = 1) -> Self:
        """Load one variant of a bundle (whose files the caller has verified).

        Args:
            bundle: The bundle.
            variant: One of its variants; see ``variants.choose_variant``.
            threads: Threads that one inference may use.

        Raises:
            InferenceError: The runtime is missing, the file is damaged, or it is not what the
                manifest says.
        """
        runtime = open_model(bundle.path(variant.file), variant.runtime, threads=threads)
        check_specs(variant.file, "input", variant.inputs, runtime.inputs)
        check_specs(variant.file, "output", variant.outputs, runtime.outputs)
        manifest = bundle.manifest
        return cls(
            runtime,
            task=manifest.task,
            spec=manifest.inputs[0],
            inputs=variant.inputs,
            outputs=variant.outputs,
        )

    @classmethod
    def open(
        cls, path: Path, runtime: Runtime, *, task: Task, spec: InputSpec, threads: int = 1
    ) -> Self:
        """Load a model file that is in no bundle (yet); raises ``InferenceError``."""
        return cls(open_model(path, runtime, threads=threads), task=task, spec=spec)

    def predict(self, sample: Array, color: ColorOrder | None = None) -> Result:
        """Return what the model says about one sample.

        Args:
            sample: See ``Preprocessor``.
            color: Channel order of an image; by default that of the manifest's data.

        Raises:
            InferenceError: The sample does not fit, or the runtime failed.
            BadOutputError: An output holds NaN or infinity.
        """
        prepared = self.preprocess(sample, color)
        return self.decode(prepared, self.infer(prepared))

    def preprocess(self, sample: Array, color: ColorOrder | None = None) -> Prepared:
        """Return the sample as tensors, valid until the next call; raises ``InferenceError``."""
        return self._preprocess(sample, color)

    def infer(self, prepared: Prepared) -> list[list[Floats]]:
        """Return, per window, the outputs as real numbers.

        Raises:
            InferenceError: The runtime failed.
            BadOutputError: An output holds NaN or infinity.
        """
        return [self._finite(self._runtime.run((tensor,))) for tensor in prepared.tensors]

    def decode(self, prepared: Prepared, outputs: Sequence[Sequence[Floats]]) -> Result:
        """Return what ``infer``'s outputs mean; raises ``InferenceError``."""
        return self._decode(prepared, outputs)

    def close(self) -> None:
        """Free the model file; the model cannot be used any more."""
        self._runtime.close()

    def _finite(self, tensors: list[Array]) -> list[Floats]:
        outputs = []
        for tensor, spec in zip(tensors, self.outputs, strict=True):
            values = dequantize(tensor, spec)
            if not np.isfinite(values).all():
                raise BadOutputError(f"the output {spec.name!r} holds NaN or infinity")
            outputs.append(values)
        return outputs
