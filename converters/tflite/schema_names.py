"""Names of the numbers in TFLite files, from the schema module of ``ai-edge-litert``."""

from collections.abc import Mapping
from typing import Final

from ai_edge_litert import schema_py_generated as schema


def _names(enumeration: type) -> dict[int, str]:
    return {v: k for k, v in sorted(vars(enumeration).items()) if isinstance(v, int)}


OPERATORS: Final[Mapping[int, str]] = _names(schema.BuiltinOperator)
TENSOR_TYPES: Final[Mapping[int, str]] = {
    number: name.lower() for number, name in _names(schema.TensorType).items()
}
"""Element types in small letters: ``float32``, ``int8`` …"""

OPTIONS_TABLES: Final[Mapping[int, str]] = _names(schema.BuiltinOptions)
