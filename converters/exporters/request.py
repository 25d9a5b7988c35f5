"""What the converter asks an exporter for, and what it gets."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from converters.arrays import Array
from edgeops.errors import StorageError, UsageError

Run = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Answers one sample: input name -> tensor to output name -> tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One model to export.

    Attributes:
        kind: Format, as in ``converters.importing.origin.SourceFormat``.
        spec: Path relative to ``folder``, or ``module:factory``.
        folder: Where paths and modules are looked for.
        shapes: Input shapes by name, where the model leaves them open.
    """

    kind: str
    spec: str
    folder: str
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """Return the folder where paths and modules are looked for."""
        return Path(self.folder)

    @property
    def path(self) -> Path:
        """Return the path that ``spec`` means."""
        return self.root / self.spec

    @property
    def is_code(self) -> bool:
        """Whether ``spec`` names a factory and no file."""
        return ":" in self.spec and not self.path.exists()

    def existing_path(self) -> Path:
        """Return the model's path.

        Raises:
            StorageError: There is no such file or folder.
        """
        if not self.path.exists():
            raise StorageError(f"cannot read {self.path}: no such file or folder")
        return self.path

    def single_input(self, features: int) -> str:
        """Return the name that the user chose for an input of one row, or ``x``.

        Raises:
            UsageError: The shape given is not ``1 x features``, or there are several.
        """
        if not self.shapes:
            return "x"
        name, shape = next(iter(self.shapes.items()))
        if len(self.shapes) != 1 or shape != (1, features):
            raise UsageError(f"the model takes one input of the shape 1,{features}")
        return name

    def to_json(self) -> str:
        """Return the request as one argument of a command line."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def of_json(cls, text: str) -> Self:
        """Return the request that ``to_json`` wrote."""
        stored = json.loads(text)
        shapes = {name: tuple(shape) for name, shape in stored.pop("shapes").items()}
        return cls(**stored, shapes=shapes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A model on both sides of an export.

    Attributes:
        onnx: As an ONNX file, with the names that ``run`` uses.
        run: As it is, in its own framework; outputs are float32 where they are numbers.
        notes: Sentences for people.
    """

    onnx: bytes
    run: Run
    notes: tuple[str, ...] = ()
