"""Spectra and cepstra against sines and slow textbook forms."""

import math

import numpy as np
import pytest

from edgeops.contracts.manifest import InputSpec, TensorSpec
from edgeops.contracts.preprocess import LogMel, Mfcc, Spectrum, Step, Window
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Array, Floats
from edgeops.inference.preprocess import Preprocessor
from edgeops.inference.signals import LogMelFilter, spectrum

MEL = LogMel(sample_rate_hz=8000, frame_s=0.02, step_s=0.01, bins=12, low_hz=50, high_hz=3000)


def run(signal: Array, shape: tuple[int, ...], *steps: Step) -> list[Floats]:
    target = TensorSpec(name="x", shape=shape, dtype="float32")
    return list(
        Preprocessor(InputSpec(preprocess=steps), target, keep_features=True)(signal).features
    )


def sine(cycles: float, size: int, height: float = 1.0) -> Floats:
    time = np.arange(size, dtype=np.float32) / size
    return (height * np.sin(2 * np.pi * cycles * time)).astype(np.float32)


def test_a_sine_shows_its_height_in_its_band() -> None:
    # One line per band; the Hann window spreads a sine as 1/4, 1/2, 1/4.
    bands = spectrum(sine(10, 128, height=3.0), Spectrum(bins=64, log=False))

    assert bands[9] == pytest.approx(1.5, rel=1e-4)  # band i holds line i + 1
    assert bands[8] == pytest.approx(0.75, rel=1e-4)
    assert bands[10] == pytest.approx(0.75, rel=1e-4)
    assert bands[20] == pytest.approx(0.0, abs=1e-5)


def test_the_mean_s_own_line_is_in_no_band() -> None:
    flat = spectrum(np.full(64, 5.0, dtype=np.float32), Spectrum(bins=32, log=False))

    assert flat[1:] == pytest.approx(np.zeros(31), abs=1e-5)


def test_a_spectrum_is_what_its_definition_says() -> None:
    signal = np.random.default_rng(3).normal(size=32)
    size, bins = 32, 4
    lengths = []
    for line in range(1, size // 2 + 1):
        total = 0j
        for n in range(size):
            hann = 0.5 - 0.5 * math.cos(2 * math.pi * n / size)
            total += signal[n] * hann * np.exp(-2j * math.pi * line * n / size)
        lengths.append(abs(total) * 2 / size)
    width = size // 2 // bins
    expected = [
        math.log10(sum(lengths[b * width : (b + 1) * width]) / width + 1e-6) for b in range(bins)
    ]

    found = spectrum(signal, Spectrum(bins=bins))

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_one_column_of_a_sensor_becomes_spectra_per_window() -> None:
    columns = np.stack([sine(8, 256), sine(30, 256)], axis=1)
    steps = (
        Step(channels=1),
        Step(window=Window(size=128, step=64)),
        Step(spectrum=Spectrum(bins=16, log=False)),
    )
    wanted = spectrum(sine(4, 128), Spectrum(bins=16, log=False))

    rows = run(columns, (1, 16), *steps)

    assert len(rows) == 3
    for row in rows:
        assert int(row.argmax()) == 0  # 4 lines per band, the sine is on line 4
        np.testing.assert_allclose(row[0], wanted, atol=1e-5)


def test_log_mel_is_what_its_definition_says() -> None:
    signal = np.random.default_rng(4).normal(0, 0.1, 400)
    frame, hop, fft = 160, 80, 256

    def mel(hertz: float) -> float:
        return 1127.0 * math.log(1 + hertz / 700)

    edges = [mel(50) + i * (mel(3000) - mel(50)) / (MEL.bins + 1) for i in range(MEL.bins + 2)]
    expected = np.zeros((4, MEL.bins))
    for row in range(4):
        part = signal[row * hop : row * hop + frame]
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
        lengths = np.abs(np.fft.rfft(part * hann, fft))
        for b in range(MEL.bins):
            low, centre, high = edges[b : b + 3]
            for line in range(1, fft // 2 + 1):
                at = mel(line * 8000 / fft)
                weight = min((at - low) / (centre - low), (high - at) / (high - centre))
                expected[row, b] += max(0.0, weight) * lengths[line]
    expected = np.log(expected + 1e-6)

    found = LogMelFilter(MEL)(signal)

    assert found.shape == (4, MEL.bins)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


def test_cepstra_are_the_cosine_transform_of_log_mel() -> None:
    signal = np.random.default_rng(5).normal(0, 0.1, 400).astype(np.float32)
    mel = LogMelFilter(MEL)(signal)
    n = np.arange(MEL.bins)
    expected = np.stack(
        [
            (mel * np.cos(np.pi / MEL.bins * (n + 0.5) * k)).sum(axis=1) * math.sqrt(2 / MEL.bins)
            for k in range(5)
        ],
        axis=1,
    )

    (found,) = run(signal, (1, 4, 5), Step(mfcc=Mfcc(coefficients=5, mel=MEL)))

    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-4)


def test_log_mel_runs_on_windows_too() -> None:
    signal = np.random.default_rng(6).normal(0, 0.1, 800).astype(np.float32)

    rows = run(signal, (1, 4, 12), Step(window=Window(size=400, step=400)), Step(log_mel=MEL))

    np.testing.assert_allclose(rows[0][0], LogMelFilter(MEL)(signal[:400]), rtol=1e-5)
    np.testing.assert_allclose(rows[1][0], LogMelFilter(MEL)(signal[400:]), rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "step", "words"),
    [
        (100, Step(spectrum=Spectrum(bins=7)), "100 values gives 50 spectral lines"),
        (3, Step(window=Window(size=4, step=1)), "3 values, fewer than one window of 4"),
        (100, Step(log_mel=MEL), "100 values, fewer than one frame of 160"),
        (
            400,
            Step(
                log_mel=LogMel(sample_rate_hz=4000, frame_s=0.02, step_s=0.01, bins=8, high_hz=2001)
            ),
            "which a rate of 4000 Hz cannot hold",
        ),
        (400, Step(mfcc=Mfcc(coefficients=13, mel=MEL)), "13 coefficients of 12 bins"),
    ],
)
def test_signals_that_do_not_fit_are_one_sentence(size: int, step: Step, words: str) -> None:
    with pytest.raises(InferenceError, match=words):
        run(np.zeros(size, dtype=np.float32), (1, 4), step)
