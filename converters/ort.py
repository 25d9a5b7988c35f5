"""ONNX Runtime as the converter uses it: single-threaded, silent, reproducible.

The environment variable must be set before the first import: without it the wheels look
up a telemetry host and write a device identifier.
"""

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from converters.arrays import Array
from edgeops.errors import ConversionError

_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PLACE = re.compile(r"/onnxruntime_src/\S+:\d+ .*?\)(?: \[with [^\]]*\])? ")

_FAILURES = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    ort_errors.EPFail,
)


class OrtModel:
    """A model loaded from bytes.

    Args:
        data: ONNX file.
        optimize: Whether the runtime may rewrite the graph; without it every
            quantize/dequantize pair is computed as written.
        threads: More than one may change the order of sums, and so the last bits.
        fuse_pairs: Whether quantize/dequantize pairs may become integer kernels; without it
            they are computed as written even where the runtime optimises the rest.
        shared_memory: Whether working memory is one pool for all such models. Each model's
            own pool grows to its own peak; without any, the allocator of the C library keeps
            every freed tensor apart.

    Raises:
        ConversionError: The runtime refuses the model.
    """

    def __init__(
        self,
        data: bytes,
        *,
        optimize: bool = True,
        threads: int = 1,
        fuse_pairs: bool = True,
        shared_memory: bool = False,
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if shared_memory:
            _register_shared_memory()
            options.add_session_config_entry("session.use_env_allocators", "1")
        if not fuse_pairs:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        except _FAILURES as error:
            raise ConversionError(f"ONNX Runtime refuses the model: {_sentence(error)}") from error
        self.inputs: tuple[str, ...] = tuple(i.name for i in self._session.get_inputs())
        self.input_types: dict[str, str] = {i.name: i.type for i in self._session.get_inputs()}
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Return output name -> tensor for one sample.

        Raises:
            ConversionError: The model fails on this input.
        """
        names = list(outputs) if outputs is not None else list(self.outputs)
        try:
            results = self._session.run(names, dict(feeds))
        except _FAILURES as error:
            raise ConversionError(f"ONNX Runtime fails on a sample: {_sentence(error)}") from error
        return dict(zip(names, results, strict=True))


@cache
def _register_shared_memory() -> None:
    """Make the process's one pool; it grows by what is asked for, not by powers of two."""
    place = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    pool = onnxruntime.OrtArenaCfg(
        {
            "max_mem": 0,
            "arena_extend_strategy": 1,
            "initial_chunk_size_bytes": -1,
            "max_dead_bytes_per_chunk": -1,
        }
    )
    onnxruntime.create_and_register_allocator(place, pool)


def _sentence(error: Exception) -> str:
    """Return the reason alone: the library puts its own source line and function before it."""
    words = " ".join(str(error).split())
    return _PLACE.sub("", _CODE.sub("", words))[:300]
