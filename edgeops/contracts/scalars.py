"""Scalar types that several contracts share."""

from typing import Annotated, Final, Literal

from msgspec import Meta

Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
"""Digest of a bundle (of its manifest's bytes)."""

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
"""Digest of one file."""

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
"""Name of a bundle, model or slot."""

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""Name of a device, tenant, stream, boot or rollout."""

_VERSION: Final = r"^\d{1,9}\.\d{1,9}\.\d{1,9}(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?$"

Version = Annotated[str, Meta(pattern=_VERSION)]
"""Semantic version."""

RelativePath = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}){0,3}$",
        max_length=200,
    ),
]
"""Path inside a bundle: no dot files, no ``..``, no absolute path can be written in it."""

Ratio = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
Seconds = Annotated[float, Meta(ge=0.0)]
Count = Annotated[int, Meta(ge=0)]
Dim = Annotated[int, Meta(ge=1, le=1 << 24)]

Layout = Literal["nhwc", "nchw", "none"]
DType = Literal["float32", "float16", "int8", "uint8", "int16", "int32", "int64"]
Runtime = Literal["tflite", "onnx"]
Precision = Literal["float32", "float16", "int8", "dynamic-int8", "int16x8"]

PATTERNS: Final = {
    r"^sha256:[0-9a-f]{64}$": "a digest: sha256: and 64 hexadecimal digits",
    r"^[0-9a-f]{64}$": "64 hexadecimal digits",
    r"^[a-z0-9][a-z0-9-]{0,62}$": "1-63 small letters, digits or '-'",
    r"^[A-Za-z0-9_-]{1,64}$": "1-64 letters, digits, '_' or '-'",
    r"^[^+#\x00]{1,500}$": "a topic of 1-500 characters without '+' and '#'",
    _VERSION: "a version such as 1.2.0",
    r"^https?://": "an address that starts with http:// or https://",
}
"""Forms in words, for error messages."""
