"""Steps for vibration and sound: windows, spectra, log-mel and cepstral features (NumPy only)."""

from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgeops.contracts.preprocess import LogMel, Mfcc, Spectrum, Window
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Array, Floats
from edgeops.inference.form import Form, Operation

_SPECTRUM_FLOOR = 1e-6


def plan_channels(count: int, form: Form) -> tuple[Form, Operation]:
    """Keep the first ``count`` columns; one column becomes a one-dimensional signal."""
    columns = 1 if len(form.shape) == 1 else form.shape[-1]
    if len(form.shape) not in {1, 2} or not 1 <= count <= columns:
        raise InferenceError(f"cannot keep {count} columns of the shape {list(form.shape)}")

    def keep(signal: Array) -> Array:
        if count == 1:
            return signal if signal.ndim == 1 else signal[:, 0]
        return signal[:, :count]

    shape = form.shape[:1] if count == 1 else (form.shape[0], count)
    return replace(form, shape=shape), keep


def plan_window(step: Window, form: Form) -> tuple[Form, Operation]:
    """Cut a signal into windows ``[n, size]``; what is left over at the end is not used.

    Raises:
        InferenceError: Not one-dimensional, or shorter than one window.
    """
    if form.windows or len(form.shape) not in {1, 2} or form.shape[1:] not in {(), (1,)}:
        raise InferenceError(
            f"the step window needs a one-dimensional signal, got the shape {list(form.shape)}"
        )
    samples = form.shape[0]
    if samples < step.size:
        raise InferenceError(
            f"the sample holds {samples} values, fewer than one window of {step.size}"
        )
    count = 1 + (samples - step.size) // step.step

    def cut(signal: Array) -> Array:
        windows = np.lib.stride_tricks.sliding_window_view(signal.reshape(-1), step.size)
        return windows[:: step.step]

    return replace(form, shape=(count, step.size), windows=True), cut


def spectrum(signals: Array, step: Spectrum) -> Floats:
    """Return the banded amplitude spectrum of signals along the last axis.

    With N samples and the periodic Hann window w: ``a = |rfft(x * w)| * 2 / N`` without its first
    bin (the mean), averaged over ``bins`` equal bands; with ``log`` log10(v + 1e-6).

    Args:
        signals: ``[…, N]``; N / 2 must be a multiple of ``bins``.
        step: The step's numbers.

    Returns:
        ``[…, bins]`` float32.

    Raises:
        InferenceError: The bands would not be equal.
    """
    size = signals.shape[-1]
    lines = size // 2
    if lines == 0 or lines % step.bins:
        raise InferenceError(
            f"a window of {size} values gives {lines} spectral lines,"
            f" which {step.bins} equal bands cannot share"
        )
    values = signals.astype(np.float32) * _hann(size)
    lengths = np.abs(np.fft.rfft(values, axis=-1))[..., 1:] * (2.0 / size)
    bands = lengths.reshape(*lengths.shape[:-1], step.bins, -1).mean(axis=-1)
    if step.log:
        bands = np.log10(bands + _SPECTRUM_FLOOR)
    return cast("Floats", bands.astype(np.float32))


def plan_spectrum(step: Spectrum, form: Form) -> tuple[Form, Operation]:
    """Compile ``spectrum``; raises ``InferenceError`` where the bands would not be equal."""
    if len(form.rows) != 1:
        raise InferenceError(
            f"the step spectrum needs a one-dimensional signal, got the shape {list(form.rows)}"
        )
    shape = (*form.shape[:-1], step.bins)
    spectrum(np.zeros(form.shape[-1], dtype=np.float32), step)
    after = replace(form, shape=shape, dtype=np.dtype(np.float32))
    return after, lambda signals: spectrum(signals, step)


class LogMelFilter:
    """Log-mel spectrogram of mono signals of one step's numbers.

    Frames of ``frame_s`` every ``step_s`` (none padded), periodic Hann window, magnitudes of an
    FFT of the next power of two, triangular filters that are equally wide on the HTK mel scale
    (1127 ln(1 + f / 700)) between ``low_hz`` and ``high_hz``, ln(v + floor): the definition of
    ``tf.signal``, which common keyword models were trained with.

    Raises:
        InferenceError: The numbers do not fit together.
    """

    def __init__(self, step: LogMel) -> None:
        self.step = step
        self.frame = round(step.frame_s * step.sample_rate_hz)
        self.hop = round(step.step_s * step.sample_rate_hz)
        if self.frame < 2 or self.hop < 1:  # noqa: PLR2004  # one sample has no spectrum
            raise InferenceError("the step log_mel has frames shorter than two samples")
        if not step.low_hz < step.high_hz <= step.sample_rate_hz / 2:
            raise InferenceError(
                f"the step log_mel has the band {step.low_hz:g}-{step.high_hz:g} Hz,"
                f" which a rate of {step.sample_rate_hz} Hz cannot hold"
            )
        self._fft = 1 << (self.frame - 1).bit_length()
        self._window = _hann(self.frame)
        self._filters = _mel_filters(step, self._fft)

    def frames(self, samples: int) -> int:
        """Return how many frames a signal of ``samples`` values has; 0 where it is too short."""
        return 0 if samples < self.frame else 1 + (samples - self.frame) // self.hop

    def __call__(self, signal: Array) -> Floats:
        """Return ``[…, frames, bins]`` float32 of signals ``[…, samples]`` in -1..1."""
        values = np.lib.stride_tricks.sliding_window_view(
            signal.astype(np.float32), self.frame, axis=-1
        )[..., :: self.hop, :]
        magnitudes = np.abs(np.fft.rfft(values * self._window, n=self._fft, axis=-1))
        mel = magnitudes.astype(np.float32) @ self._filters
        return cast("Floats", np.log(mel + np.float32(self.step.floor)))


def plan_log_mel(step: LogMel, form: Form) -> tuple[Form, Operation]:
    """Compile a log-mel spectrogram; raises ``InferenceError`` for signals that do not fit."""
    mel = LogMelFilter(step)
    shape = _mel_shape(mel, form, "log_mel", step.bins)
    return replace(form, shape=shape, dtype=np.dtype(np.float32)), mel


def plan_mfcc(step: Mfcc, form: Form) -> tuple[Form, Operation]:
    """Compile cepstral coefficients; raises ``InferenceError`` for signals that do not fit."""
    mel = LogMelFilter(step.mel)
    if step.coefficients > step.mel.bins:
        raise InferenceError(
            f"the step mfcc cannot take {step.coefficients} coefficients of {step.mel.bins} bins"
        )
    shape = _mel_shape(mel, form, "mfcc", step.coefficients)
    cosines = _dct(step.mel.bins, step.coefficients)
    after = replace(form, shape=shape, dtype=np.dtype(np.float32))
    return after, lambda signal: mel(signal) @ cosines


def _mel_shape(mel: LogMelFilter, form: Form, kind: str, columns: int) -> tuple[int, ...]:
    if len(form.rows) != 1:
        raise InferenceError(
            f"the step {kind} needs a mono signal, got the shape {list(form.rows)}"
        )
    frames = mel.frames(form.shape[-1])
    if frames == 0:
        raise InferenceError(
            f"the sample holds {form.shape[-1]} values, fewer than one frame of {mel.frame}"
        )
    return (*form.shape[:-1], frames, columns)


def _hann(size: int) -> Floats:
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)
    return cast("Floats", window.astype(np.float32))


def _mel_filters(step: LogMel, fft: int) -> Floats:
    """Return ``[fft / 2 + 1, bins]``; the first line (the mean) belongs to no filter."""
    lines = _mel(np.arange(1, fft // 2 + 1, dtype=np.float64) * (step.sample_rate_hz / fft))
    first, last = _mel(np.array([step.low_hz, step.high_hz], dtype=np.float64))
    edges = np.linspace(first, last, step.bins + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (lines[:, None] - low) / (centre - low)
    falling = (high - lines[:, None]) / (high - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    return cast("Floats", np.vstack([np.zeros(step.bins), filters]).astype(np.float32))


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127.0 * np.log1p(hertz / 700.0)


def _dct(bins: int, coefficients: int) -> Floats:
    """Return ``[bins, coefficients]`` of the DCT-II, every column scaled by sqrt(2 / bins)."""
    k, n = np.arange(coefficients), np.arange(bins)
    cosines = np.cos(np.pi / bins * (n[:, None] + 0.5) * k) * np.sqrt(2.0 / bins)
    return cast("Floats", cosines.astype(np.float32))
