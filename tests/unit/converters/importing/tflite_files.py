"""TFLite files of a single operator, written as a converter would write them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from converters.arrays import Array, Feeds
from converters.importing.gate import compare
from converters.importing.importer import import_model
from converters.importing.origin import Origin, open_origin
from converters.onnx_format import serialize
from converters.ort import OrtModel
from converters.tflite.schema import FlatModel, Option

FLOAT32: np.dtype[np.generic] = np.dtype(np.float32)
Options = tuple[str, Mapping[str, Option]]


@dataclass(frozen=True)
class Case:
    """One operator; an array among ``inputs`` is a constant, a shape an input of the model."""

    code: str
    inputs: Sequence[tuple[int, ...] | Array | None]
    outputs: Sequence[tuple[int, ...]]
    options: Options | None = None
    version: int = 1
    kinds: Sequence[str] = field(default=("float32",))
    bools: Sequence[int] = ()
    low: float = -3.0
    high: float = 3.0

    def data(self) -> bytes:
        """Return the file."""
        model = FlatModel()
        given: dict[str, int] = {}
        places: list[int] = []
        for number, entry in enumerate(self.inputs):
            if entry is None:
                places.append(-1)
            elif isinstance(entry, tuple):
                name = f"x{number}"
                given[name] = model.tensor(name, entry, self._dtype(number), None)
                places.append(given[name])
            else:
                places.append(model.constant(f"c{number}", entry))
        made = {
            f"y{i}": model.tensor(f"y{i}", shape, np.dtype(self.kinds[i % len(self.kinds)]), None)
            for i, shape in enumerate(self.outputs)
        }
        model.operator(self.code, self.version, places, list(made.values()), self.options)
        return model.finish(given, made)

    def _dtype(self, number: int) -> np.dtype[np.generic]:
        return np.dtype(np.bool_) if number in self.bools else FLOAT32

    def feeds(self, count: int = 3) -> list[Feeds]:
        """Return random samples within the operator's range."""
        numbers = np.random.default_rng(7)
        return [
            {
                f"x{number}": (
                    numbers.uniform(size=entry) < 0.5
                    if number in self.bools
                    else numbers.uniform(self.low, self.high, entry).astype(np.float32)
                )
                for number, entry in enumerate(self.inputs)
                if isinstance(entry, tuple)
            }
            for _ in range(count)
        ]


def open_bytes(data: bytes, folder: Path) -> Origin:
    """Return the origin of a file with these bytes."""
    (folder / "model.tflite").write_bytes(data)
    return open_origin("model.tflite", folder, source_format=None, shapes={})


def difference(origin: Origin, samples: list[Feeds]) -> float:
    """Return the relative difference of the normalised graph from the file's own runtime."""
    graph = import_model(origin.onnx)
    return compare(origin.reference, OrtModel(serialize(graph)), samples).relative
