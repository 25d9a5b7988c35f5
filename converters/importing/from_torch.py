"""PyTorch models as origins: ``module:factory``, ``.pt2``, ``.pt`` and ``.pth``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.importing.exporter_process import export_origin
from converters.importing.origin import Origin


def open_torch(spec: str, folder: Path, shapes: Mapping[str, Sequence[int]]) -> Origin:
    """Return the module that ``spec`` names, exported by PyTorch's own exporter.

    Args:
        spec: A file relative to ``folder``, or a factory of an ``nn.Module`` or of a pair of
            module and example inputs.
        folder: Where files and modules are looked for.
        shapes: Input shapes; their names become the inputs' names.

    Raises:
        MissingExtraError: PyTorch or its exporter is not installed.
        UsageError, StorageError: ``spec`` names no model, or has no input shape.
        ConversionError: PyTorch cannot export it.
    """
    return export_origin("pytorch", spec, folder, shapes)
