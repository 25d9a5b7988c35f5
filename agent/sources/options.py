"""What ``agent.yaml`` says about each kind of source; plain data that also crosses to the pipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from edgeops import codec
from edgeops.contracts.scalars import Dim, Positive
from edgeops.errors import ContractError
from edgeops.quantities import Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOptions:
    """A video file.

    Attributes:
        path: The file.
        realtime: Play at the file's own speed and skip what comes too late; without it every
            frame is taken as fast as the model allows.
        loop: Start over at the end; only with ``realtime``.
    """

    path: str
    realtime: bool = False
    loop: bool = False

    def __post_init__(self) -> None:
        _loop_needs_realtime(loop=self.loop, realtime=self.realtime)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraOptions:
    """A camera that OpenCV can read.

    Attributes:
        device: ``/dev/video0``, a number, or an RTSP or HTTP address.
        fps: Most frames per second that are taken; ``None``: as many as come.
        width, height: Wished picture size in pixels; ``None``: the camera's own.
        stall: Without a frame for so long the camera counts as lost and is opened anew.
    """

    device: str
    fps: Positive | None = None
    width: Dim | None = None
    height: Dim | None = None
    stall: Duration = Duration(10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesOptions:
    """A folder of pictures, in the order of their names.

    Attributes:
        path: The folder.
        fps: Pictures per second of evidence time.
        realtime: Keep to ``fps``; without it as fast as the model allows.
        loop: Start over at the end; only with ``realtime``.
    """

    path: str
    fps: Positive = 1.0
    realtime: bool = False
    loop: bool = False

    def __post_init__(self) -> None:
        _loop_needs_realtime(loop=self.loop, realtime=self.realtime)


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvOptions:
    """A recorded sensor: one row per sample.

    Attributes:
        path: The file; its first row names the columns.
        columns: Columns that become the sample, in this order.
        time_column: Column with seconds or ISO 8601 times; without it rows are ``1/rate_hz``
            apart.
        rate_hz: Samples per second; needed where there is no time column.
        window: Samples per delivered array.
        step: Samples between two arrays; ``None``: ``window``.
        realtime: Play at the recorded speed; without it as fast as the model allows.
        loop: Start over at the end; only with ``realtime``.
    """

    path: str
    columns: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=256)]
    time_column: str | None = None
    rate_hz: Positive | None = None
    window: Dim = 1
    step: Dim | None = None
    realtime: bool = False
    loop: bool = False

    def __post_init__(self) -> None:
        _loop_needs_realtime(loop=self.loop, realtime=self.realtime)
        if self.time_column is None and self.rate_hz is None:
            raise ValueError("Expected time_column or rate_hz")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatOptions:
    """The arrays of an ``.npz`` file (``x``), over and over, for measuring; not for a document."""

    path: str


SourceOptions = VideoOptions | CameraOptions | ImagesOptions | CsvOptions | RepeatOptions

KINDS: Final[Mapping[str, type[SourceOptions]]] = {
    "video": VideoOptions,
    "camera": CameraOptions,
    "images": ImagesOptions,
    "csv": CsvOptions,
}


_ALL_KINDS: Final[Mapping[str, type[SourceOptions]]] = {**KINDS, "repeat": RepeatOptions}


def is_live(options: SourceOptions) -> bool:
    """Return whether time passes by itself: the latest sample wins and evidence time is a clock."""
    if isinstance(options, RepeatOptions):
        return False
    return isinstance(options, CameraOptions) or options.realtime


def is_finite(options: SourceOptions) -> bool:
    """Return whether the source comes to an end by itself."""
    return not isinstance(options, CameraOptions | RepeatOptions) and not options.loop


def to_plain(options: SourceOptions) -> dict[str, codec.JsonValue]:
    """Return the options as JSON values, with their ``type``."""
    kind = next(name for name, wanted in _ALL_KINDS.items() if isinstance(options, wanted))
    fields = codec.plain(options)
    if not isinstance(fields, dict):
        raise TypeError("options are a mapping")
    return {"type": kind, **fields}


def from_plain(value: Mapping[str, object]) -> SourceOptions:
    """Return what ``to_plain`` gave; raises ``ContractError``."""
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _ALL_KINDS:
        raise ContractError("source.type", f"is {kind!r}, expected one of {', '.join(KINDS)}")
    fields = {key: child for key, child in value.items() if key != "type"}
    return codec.convert(fields, _ALL_KINDS[kind], where="source")


def _loop_needs_realtime(*, loop: bool, realtime: bool) -> None:
    if loop and not realtime:
        raise ValueError("Expected loop only together with realtime: true")
