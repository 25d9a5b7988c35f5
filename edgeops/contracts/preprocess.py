"""Pre-processing as data: ordered steps with their numbers, one key per step."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from edgeops.contracts.scalars import Count, Dim, Positive, Seconds

ColorOrder = Literal["rgb", "bgr", "gray"]
Interpolation = Literal["linear", "nearest", "area", "cubic"]
Size = tuple[Dim, Dim]
"""(width, height) in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """Stretch an image to ``size``; the aspect ratio is not kept.

    Attributes:
        size: Width and height in pixels.
        interpolation: How pixels between pixels are found.
    """

    size: Size
    interpolation: Interpolation = "linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """Scale an image into ``size`` keeping its aspect, top left, and fill the rest with ``pad``.

    Attributes:
        size: Width and height in pixels.
        pad: Value that fills the rest.
        interpolation: How pixels between pixels are found.
        center: Put the image in the middle instead of top left.
    """

    size: Size
    pad: Annotated[int, Meta(ge=0, le=255)] = 114
    interpolation: Interpolation = "linear"
    center: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """Cut the centre ``size`` out of an image; the image must be at least that large.

    Attributes:
        size: Width and height in pixels.
    """

    size: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalize:
    """Return ``(x - mean) / std``, per channel (last axis of an image) or with one number.

    Attributes:
        mean: Subtracted; one number or one per channel.
        std: Divided by; one number or one per channel.
    """

    mean: tuple[float, ...]
    std: tuple[Positive, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dequantize:
    """Return ``(x - zero_point) * scale`` as float32.

    Attributes:
        scale: Real value of one step.
        zero_point: Stored value that means 0.
    """

    scale: Positive
    zero_point: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Cut a one-dimensional signal into windows of ``size`` samples, ``step`` apart.

    Attributes:
        size: Samples in a window.
        step: Samples from one window's start to the next.
    """

    size: Dim
    step: Dim


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """Mean magnitude of ``bins`` equal bands of ``|rfft(x * hann)|`` (without the mean's bin).

    With ``log``: log10(v + 1e-6). Amplitudes are scaled by 2/N, the window is periodic Hann.

    Attributes:
        bins: Bands.
        log: Take the logarithm.
    """

    bins: Dim
    log: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMel:
    """Log-mel spectrogram of a mono signal in -1..1: ``[frames, bins]`` float32, natural log.

    Attributes:
        sample_rate_hz: Samples per second of the signal.
        frame_s: Length of one frame.
        step_s: From one frame's start to the next.
        bins: Mel bands.
        low_hz: Lower edge of the lowest band.
        high_hz: Upper edge of the highest band.
        floor: Added before the logarithm.
    """

    sample_rate_hz: Dim
    frame_s: Positive
    step_s: Positive
    bins: Dim
    low_hz: Seconds = 20.0
    high_hz: Positive = 4000.0
    floor: Positive = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Mfcc:
    """Cepstral coefficients: ``[frames, coefficients]``, the DCT-II of ``LogMel``.

    Every coefficient is scaled by sqrt(2 / bins), the first one too, as HTK and ``tf.signal`` do.

    Attributes:
        coefficients: How many are kept, from the first.
        mel: The spectrogram that they are made of.
    """

    coefficients: Dim
    mel: LogMel


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step; exactly one field is set.

    ``color`` names the channel order that the model wants (the source says which it has);
    ``scale`` multiplies; ``reshape`` gives the shape without the batch axis.

    Attributes:
        resize: Stretch an image.
        letterbox: Scale an image, keep its aspect, fill the rest.
        crop: Cut out the centre.
        color: Channel order that the model wants; the source says which it has.
        scale: Multiply by this.
        normalize: Subtract ``mean``, divide by ``std``.
        standardize: The same, under the name that sensor people use.
        dequantize: Turn stored integers into real values.
        window: Cut a signal into windows.
        spectrum: Bands of the amplitude spectrum.
        log_mel: Log-mel spectrogram of sound.
        mfcc: Cepstral coefficients of sound.
        reshape: New shape, without the batch axis.
        channels: Keep the first so many columns of a sensor sample ``[samples, columns]``.
    """

    resize: Resize | None = None
    letterbox: Letterbox | None = None
    crop: Crop | None = None
    color: ColorOrder | None = None
    scale: float | None = None
    normalize: Normalize | None = None
    standardize: Normalize | None = None
    dequantize: Dequantize | None = None
    window: Window | None = None
    spectrum: Spectrum | None = None
    log_mel: LogMel | None = None
    mfcc: Mfcc | None = None
    reshape: tuple[Dim, ...] | None = None
    channels: Count | None = None
    """Keep the first ``channels`` columns of a sensor sample ``[samples, columns]``."""

    def __post_init__(self) -> None:
        given = [f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None]
        if len(given) != 1:
            raise ValueError(f"Expected exactly one kind of step, got {given or 'none'}")

    @property
    def kind(self) -> str:
        """Return the name of the one field that is set."""
        return next(f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None)
