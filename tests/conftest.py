"""What every test may use: a hand-moved clock and a small signed bundle."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeops import bundle as bundles
from edgeops.contracts.manifest import InputSpec, Manifest, Task, TensorSpec, Variant
from edgeops.trust import SigningKey


@pytest.fixture(scope="session")
def release_key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def plain_bundle(tmp_path: Path, release_key: SigningKey) -> Callable[..., bundles.Bundle]:
    """Return a maker of signed bundles whose model file is opaque bytes (never run)."""

    def make(
        name: str = "door", *, version: str = "1.0.0", serial: int = 1, model: bytes = b"weights"
    ) -> bundles.Bundle:
        folder = tmp_path / f"{name}-{version}-{serial}"
        (folder / "models").mkdir(parents=True)
        (folder / "models" / "m.onnx").write_bytes(model)
        tensor = TensorSpec(name="x", shape=(1, 4), dtype="float32")
        manifest = Manifest(
            name=name,
            version=version,
            serial=serial,
            task=Task(type="classification", labels=("no", "yes")),
            inputs=(InputSpec(),),
            variants=(
                Variant(
                    runtime="onnx",
                    precision="float32",
                    file="models/m.onnx",
                    sha256=hashlib.sha256(model).hexdigest(),
                    size_bytes=len(model),
                    inputs=(tensor,),
                    outputs=(tensor,),
                ),
            ),
        )
        return bundles.write_manifest(folder, manifest, release_key)

    return make
