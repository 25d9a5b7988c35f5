"""What reaches the model: every plan against the same steps done plainly, one after another."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeops.contracts.manifest import InputSpec, TensorSpec
from edgeops.contracts.preprocess import (
    ColorOrder,
    Crop,
    Dequantize,
    Letterbox,
    Normalize,
    Resize,
    Step,
    Window,
)
from edgeops.contracts.scalars import DType, Layout
from edgeops.errors import InferenceError
from edgeops.inference.arrays import Array, Floats
from edgeops.inference.preprocess import Preprocessor

SIZE = 12


def tensor(
    shape: tuple[int, ...],
    dtype: DType = "float32",
    *,
    layout: Layout = "none",
    scale: float | None = None,
    zero_point: int = 0,
) -> TensorSpec:
    return TensorSpec(
        name="input", shape=shape, dtype=dtype, layout=layout, scale=scale, zero_point=zero_point
    )


def image(height: int = 20, width: int = 30, channels: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def prepare(
    sample: Array,
    target: TensorSpec,
    *steps: Step,
    layout: Layout = "none",
    color: ColorOrder | None = None,
    data_color: ColorOrder = "rgb",
) -> Array:
    spec = InputSpec(layout=layout, color=data_color, preprocess=steps)
    (only,) = Preprocessor(spec, target)(sample, color).tensors
    return only


def plainly(sample: Array, steps: tuple[Step, ...]) -> Floats:
    """Return ``steps`` done in their order, without any of the short cuts."""
    value = sample
    for step in steps:
        if step.resize is not None:
            value = cv2.resize(np.asarray(value, np.uint8), step.resize.size)
        elif step.color is not None:
            value = np.ascontiguousarray(value[..., ::-1])
        elif step.scale is not None:
            value = value.astype(np.float32) * np.float32(step.scale)
        elif step.normalize is not None:
            mean = np.array(step.normalize.mean, np.float32)
            value = (value.astype(np.float32) - mean) / np.array(step.normalize.std, np.float32)
    return value.astype(np.float32)


COLOR = Step(color="bgr")
RESIZE = Step(resize=Resize(size=(SIZE, SIZE)))
SCALE = Step(scale=1 / 255)
PER_CHANNEL = Step(normalize=Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)))


# Resized as 8-bit pixels, which is what `plainly` does too.
ORDERS = [
    steps
    for steps in itertools.permutations((COLOR, RESIZE, SCALE, PER_CHANNEL))
    if steps.index(RESIZE) < min(steps.index(SCALE), steps.index(PER_CHANNEL))
]


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("steps", ORDERS, ids=lambda steps: "-".join(step.kind for step in steps))
def test_any_order_of_steps_gives_what_the_steps_say(
    steps: tuple[Step, ...], layout: Layout
) -> None:
    shape = (1, SIZE, SIZE, 3) if layout == "nhwc" else (1, 3, SIZE, SIZE)
    wanted = plainly(image(), steps)

    found = prepare(image(), tensor(shape), *steps, layout=layout)

    expected = wanted if layout == "nhwc" else wanted.transpose(2, 0, 1)
    np.testing.assert_array_equal(found[0], expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "float32", "int16", "float16"])
@pytest.mark.parametrize(
    "steps", [(), (SCALE,), (Step(normalize=Normalize(mean=(9.0,), std=(3.0,))),)]
)
def test_look_up_tables_equal_arithmetic(
    channels: int, layout: Layout, dtype: DType, steps: tuple[Step, ...]
) -> None:
    sample = image(SIZE, SIZE, channels)
    shape = (1, SIZE, SIZE, channels) if layout == "nhwc" else (1, channels, SIZE, SIZE)
    scale = None if dtype.startswith("float") else 0.013
    target = tensor(shape, dtype, scale=scale, zero_point=3 if scale else 0)

    looked_up = prepare(sample, target, *steps, layout=layout)
    calculated = prepare(sample.astype(np.float32), target, *steps, layout=layout)

    assert looked_up.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(looked_up, calculated)


def test_integers_round_half_to_even_and_stay_in_range() -> None:
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 1e9, -1e9, 126.5], dtype=np.float32)

    found = prepare(values, tensor((1, 8), "int8", scale=1.0))

    assert found.tolist() == [[0, 2, 2, 0, -2, 127, -128, 126]]


@given(
    x=st.floats(-1e6, 1e6, width=32),
    scale=st.floats(0.0009765625, 100, width=32),
    zero=st.integers(-128, 127),
)
def test_quantization_is_off_by_half_a_step_at_most(x: float, scale: float, zero: int) -> None:
    sample = np.array([x], dtype=np.float32)

    found = prepare(sample, tensor((1, 1), "int8", scale=scale, zero_point=zero))

    q = int(found[0, 0])
    low, high = (-128 - zero) * scale, (127 - zero) * scale
    assert abs((q - zero) * scale - min(max(x, low), high)) <= 0.5 * scale * 1.001


def test_stored_features_reach_an_equal_tensor_unchanged() -> None:
    features = np.random.default_rng(1).integers(-128, 128, (49, 10), dtype=np.int8)
    stored = Step(dequantize=Dequantize(scale=0.58, zero_point=83))
    target = tensor((1, 49, 10, 1), "int8", layout="nhwc", scale=0.58, zero_point=83)

    found = prepare(features, target, stored, layout="nchw")

    np.testing.assert_array_equal(found[0, :, :, 0], features)


def test_a_variant_with_another_axis_order_gets_its_own() -> None:
    spec = InputSpec(layout="nchw", preprocess=(Step(reshape=(3, 4, 5)),))
    sample = np.arange(60, dtype=np.float32)

    (same,) = Preprocessor(spec, tensor((1, 3, 4, 5), layout="nchw"))(sample).tensors
    (turned,) = Preprocessor(spec, tensor((1, 4, 5, 3), layout="nhwc"))(sample).tensors

    np.testing.assert_array_equal(same[0], sample.reshape(3, 4, 5))
    np.testing.assert_array_equal(turned[0], same[0].transpose(1, 2, 0))


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_numbers_per_feature_follow_a_reshaped_sample(dtype: DType) -> None:
    sample = np.arange(60, dtype=np.uint8)
    steps = (Step(reshape=(5, 4, 3)), PER_CHANNEL)
    target = tensor((1, 4, 3, 5), dtype, layout="nhwc", scale=0.1 if dtype == "int8" else None)
    wanted = plainly(sample.reshape(5, 4, 3), (PER_CHANNEL,)).transpose(1, 2, 0)

    found = prepare(sample, target, *steps, layout="nchw")

    if dtype == "int8":
        wanted = np.clip(np.rint(wanted / np.float32(0.1)), -128, 127)
    np.testing.assert_array_equal(found[0], wanted)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_look_up_per_channel_equals_arithmetic(layout: Layout) -> None:
    sample = image(SIZE, SIZE)
    shape = (1, SIZE, SIZE, 3) if layout == "nhwc" else (1, 3, SIZE, SIZE)
    target = tensor(shape, "int8", scale=0.02, zero_point=-5)
    steps = (SCALE, PER_CHANNEL)

    looked_up = prepare(sample, target, *steps, layout=layout)
    calculated = prepare(sample.astype(np.float32), target, *steps, layout=layout)

    assert len(np.unique(looked_up)) > 100
    np.testing.assert_array_equal(looked_up, calculated)


@pytest.mark.parametrize("data_color", ["rgb", "bgr"])
def test_a_camera_is_brought_to_the_order_of_the_data(data_color: ColorOrder) -> None:
    sample = image(SIZE, SIZE)
    target = tensor((1, SIZE, SIZE, 3), layout="nhwc")

    as_data = prepare(sample, target, data_color=data_color).copy()
    other: ColorOrder = "bgr" if data_color == "rgb" else "rgb"
    as_camera = prepare(sample[..., ::-1], target, data_color=data_color, color=other)

    np.testing.assert_array_equal(as_data, as_camera)


def test_a_camera_is_made_gray_for_a_model_of_gray_images() -> None:
    sample = image(SIZE, SIZE)

    found = prepare(
        sample, tensor((1, SIZE, SIZE, 1), layout="nhwc"), data_color="gray", color="bgr"
    )

    gray = cv2.cvtColor(np.asarray(sample, np.uint8), cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(found[0, :, :, 0], gray)


def test_a_gray_camera_feeds_a_model_of_colours() -> None:
    sample = image(SIZE, SIZE, 1)[..., 0]

    found = prepare(sample, tensor((1, 3, SIZE, SIZE), layout="nchw"), color="gray")

    for channel in range(3):
        np.testing.assert_array_equal(found[0, channel], sample)


def test_letterbox_keeps_the_aspect_and_pads_the_rest() -> None:
    white = np.full((10, 20, 3), 255, dtype=np.uint8)
    steps = (Step(letterbox=Letterbox(size=(16, 16), pad=114)),)

    found = prepare(white, tensor((1, 16, 16, 3), layout="nhwc"), *steps)[0]

    assert (found[:8] == 255).all()
    assert (found[8:] == 114).all()


def test_letterbox_pads_every_frame() -> None:
    spec = InputSpec(preprocess=(Step(letterbox=Letterbox(size=(16, 16), center=True)),))
    prepared = Preprocessor(spec, tensor((1, 16, 16, 3), layout="nhwc"))
    for value in (0, 255, 7):
        found = prepared(np.full((10, 20, 3), value, dtype=np.uint8)).tensors[0][0]

        assert (found[:4] == 114).all()
        assert (found[4:12] == value).all()
        assert (found[12:] == 114).all()


@settings(deadline=None)
@given(
    width=st.integers(2, 80),
    height=st.integers(2, 80),
    center=st.booleans(),
    box=st.tuples(*[st.floats(0, 1) for _ in range(4)]),
)
def test_boxes_map_back_through_every_step(
    width: int, height: int, center: bool, box: tuple[float, float, float, float]
) -> None:
    steps = (
        Step(resize=Resize(size=(90, 60))),
        Step(crop=Crop(size=(50, 40))),
        Step(letterbox=Letterbox(size=(64, 64), center=center)),
    )
    prepared = Preprocessor(InputSpec(preprocess=steps), tensor((1, 64, 64, 3), layout="nhwc"))(
        np.zeros((height, width, 3), np.uint8)
    )
    assert prepared.geometry is not None
    # by hand: stretched to 90x60, cut by 20 and 10, scaled by 64/50, moved to the middle
    forward = [
        (box[0] * 90 - 20) * 64 / 50,
        (box[1] * 60 - 10) * 51 / 40 + (6 if center else 0),
        (box[2] * 90 - 20) * 64 / 50,
        (box[3] * 60 - 10) * 51 / 40 + (6 if center else 0),
    ]

    shares = prepared.geometry.to_shares(np.array([forward], dtype=np.float32))

    np.testing.assert_allclose(shares[0], box, atol=1e-4)


def test_windows_become_one_tensor_each() -> None:
    signal = np.arange(10, dtype=np.float32)
    spec = InputSpec(preprocess=(Step(window=Window(size=4, step=3)), Step(scale=2.0)))

    prepared = Preprocessor(spec, tensor((1, 4)), keep_features=True)(signal)

    expected = [[[0, 2, 4, 6]], [[6, 8, 10, 12]], [[12, 14, 16, 18]]]
    assert [row.tolist() for row in prepared.tensors] == expected
    assert [row.tolist() for row in prepared.features] == expected


def test_features_are_kept_as_they_were_before_quantization() -> None:
    sample = np.array([0.12, 0.37], dtype=np.float32)

    prepared = Preprocessor(InputSpec(), tensor((1, 2), "int8", scale=0.1), keep_features=True)(
        sample
    )

    assert prepared.tensors[0].tolist() == [[1, 4]]
    np.testing.assert_array_equal(prepared.features[0][0], sample)


def test_features_are_kept_of_8_bit_samples_too() -> None:
    spec = InputSpec(preprocess=(Step(dequantize=Dequantize(scale=0.5, zero_point=1)),))
    sample = np.array([3, -4], dtype=np.int8)

    prepared = Preprocessor(spec, tensor((1, 2), "int8", scale=2.0), keep_features=True)(sample)

    assert prepared.tensors[0].tolist() == [[0, -1]]
    assert [row.tolist() for row in prepared.features] == [[[1.0, -2.5]]]


def test_samples_of_changing_size_are_planned_anew() -> None:
    prepared = Preprocessor(
        InputSpec(preprocess=(RESIZE,)), tensor((1, SIZE, SIZE, 3), layout="nhwc")
    )
    for height, width in ((20, 30), (9, 7), (20, 30), (SIZE, SIZE)):
        sample = image(height, width)

        found = prepared(sample).tensors[0]

        np.testing.assert_array_equal(found[0], plainly(sample, (RESIZE,)))


def test_the_sample_itself_is_never_changed() -> None:
    signal = np.ones(8, dtype=np.float32)
    frame = image(SIZE, SIZE)
    before = frame.copy()

    prepare(signal, tensor((1, 8)), Step(scale=5.0))
    prepare(frame, tensor((1, SIZE, SIZE, 3), layout="nhwc"), COLOR, SCALE)

    assert (signal == 1).all()
    np.testing.assert_array_equal(frame, before)


@pytest.mark.parametrize(
    ("sample", "target", "steps", "words"),
    [
        (np.zeros((8, 8, 3), np.uint8), tensor((1, 3, 8, 8)), (), "layout missing"),
        (np.zeros((9, 8, 3), np.uint8), tensor((1, 8, 8, 3)), (), r"\[9, 8, 3\].*\[1, 8, 8, 3\]"),
        (np.zeros(5, np.float32), tensor((1, 4)), (RESIZE,), "needs an image"),
        (np.zeros((4, 4, 3), np.uint8), tensor((1, 4)), (Step(crop=Crop(size=(5, 4))),), "5x4"),
        (np.zeros((4, 4, 9), np.uint8), tensor((1, 4)), (RESIZE,), "9 channels"),
        (np.zeros((4, 4, 3), np.int64), tensor((1, 4)), (RESIZE,), "int64"),
        (np.zeros(4, np.float32), tensor((1, 4)), (PER_CHANNEL,), "3 values of mean for 4"),
        (np.zeros(4, np.float32), tensor((1, 4)), (Step(reshape=(5,)),), r"\[5\] to \[4\]"),
        (np.zeros(4, np.float32), tensor((1, 4)), (Step(channels=2),), "keep 2 columns"),
        (np.zeros(0, np.float32), tensor((1, 4)), (), "cannot take"),
        (np.array(["a"]), tensor((1, 1)), (), "cannot take"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    sample: Array, target: TensorSpec, steps: tuple[Step, ...], words: str
) -> None:
    with pytest.raises(InferenceError, match=words):
        prepare(sample, target, *steps)
