"""Numbers with units, as people write them in configuration."""

import math
import re
from typing import Final, Self

_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_DURATION: Final = re.compile(_NUMBER + r"\s*(ms|s|m|h|d)")
_SIZE: Final = re.compile(_NUMBER + r"\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}


class Duration(float):
    """Seconds, 0 or more; written ``30s``, ``1.5 m``, ``250ms``, or as a plain number."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a duration; raises ``ValueError`` that says what is accepted."""
        if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
            return cls(float(match[1]) * _SECONDS[match[2]])
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            if not math.isfinite(value):
                raise ValueError("Expected a finite duration")
            return cls(value)
        raise ValueError(f"Expected a duration such as 30s, 5m or 250ms, got {value!r}")


class ByteSize(int):
    """Bytes, 0 or more; written ``256MB``, ``64KiB``, or as a plain number."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a size; raises ``ValueError`` that says what is accepted."""
        if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
            return cls(int(float(match[1]) * _BYTES[match[2]]))
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        raise ValueError(f"Expected a size such as 256MB or 64KiB, got {value!r}")
