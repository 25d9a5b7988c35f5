"""Which variant a machine takes, and what it says where there is none."""

import platform

import pytest

from edgeops.contracts.manifest import InputSpec, Manifest, Requires, Task, TensorSpec, Variant
from edgeops.contracts.scalars import Precision, Runtime
from edgeops.errors import InferenceError
from edgeops.inference.variants import choose_variant

TENSOR = TensorSpec(name="x", shape=(1, 4), dtype="float32")


def variant(
    runtime: Runtime, precision: Precision = "int8", requires: Requires | None = None
) -> Variant:
    return Variant(
        runtime=runtime,
        precision=precision,
        file=f"{runtime}-{precision}",
        sha256="0" * 64,
        size_bytes=1,
        inputs=(TENSOR,),
        outputs=(TENSOR,),
        requires=Requires() if requires is None else requires,
    )


def manifest(*variants: Variant) -> Manifest:
    return Manifest(
        name="tiny",
        version="1.0.0",
        serial=1,
        task=Task(type="regression"),
        inputs=(InputSpec(),),
        variants=variants,
    )


MANY = manifest(variant("tflite"), variant("onnx"), variant("onnx", "float32"))


def test_the_first_that_runs_is_taken() -> None:
    assert choose_variant(MANY).id == "tflite-int8"
    assert choose_variant(MANY, runtime="onnx").id == "onnx-int8"
    assert choose_variant(MANY, precision="float32").id == "onnx-float32"


@pytest.mark.parametrize(
    ("requires", "words"),
    [
        (Requires(arch=("riscv128",)), f"riscv128, this machine is {platform.machine()}"),
        (Requires(ram_bytes=1 << 60), "bytes of memory"),
        (Requires(runtime_version="999.0"), "needs tflite 999.0, installed is"),
    ],
)
def test_what_a_variant_needs_is_checked(requires: Requires, words: str) -> None:
    picky = variant("tflite", requires=requires)

    assert choose_variant(manifest(picky, variant("onnx"))).id == "onnx-int8"
    with pytest.raises(InferenceError, match=words):
        choose_variant(manifest(picky))


def test_needs_that_are_met_do_not_stand_in_the_way() -> None:
    modest = Requires(arch=(platform.machine(),), ram_bytes=1000, runtime_version="0.1")

    assert choose_variant(manifest(variant("onnx", requires=modest))).id == "onnx-int8"


def test_where_none_runs_every_reason_is_given() -> None:
    with pytest.raises(
        InferenceError,
        match=r"no variant of tiny 1\.0\.0 can run here: tflite-int8 is not float16; onnx-int8",
    ):
        choose_variant(MANY, precision="float16")
