"""The demo's workstation: keys, data made from seeds, conversions by ``edgeops convert``."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import yaml

from edgeops.codec import JsonValue
from edgeops.demo import programs
from edgeops.demo.answers import at, listed, mapping, number, text
from edgeops.demo.timeline import ModelFigures
from edgeops.errors import CheckFailedError
from edgeops.yamldoc import plain

VISUAL: Final = "visual-inspection"
BEARING: Final = "bearing-vibration"
DECIDING: Final = ("top1", "auc")
"""Metrics that people compare models by, before all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One converted bundle.

    Attributes:
        answer: What ``edgeops convert --json`` said.
    """

    name: str
    version: str
    folder: Path
    digest: str
    verdict: str
    answer: dict[str, JsonValue]


class Workshop:
    """Everything that happens on the workstation, inside ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_home = folder / "config"
        self.key = folder / "keys" / "release.key"
        self.public_key = folder / "keys" / "release.pub"

    def prepare(self) -> None:
        """Unpack models and recipes, make the release key and the calibration and test data."""
        from edgeops.demo import render  # noqa: PLC0415  # NumPy and OpenCV load when used

        self.folder.mkdir(parents=True, exist_ok=True)
        with as_file(files("edgeops.demo") / "assets") as assets:
            for path in sorted(assets.iterdir()):
                if path.suffix in {".onnx", ".yaml"}:
                    shutil.copyfile(path, self.folder / path.name)
        programs.run(
            *("keys", "new", "release", "--out", str(self.key.parent), "--json"),
            cwd=self.folder,
            config_home=self.config_home,
        )
        render.write_visual_dataset(self.folder / "visual-calibration.npz", 2001, 96)
        render.write_visual_dataset(self.folder / "visual-evaluation.npz", 3001, 300)
        render.write_vibration_dataset(self.folder / "bearing-calibration.npz", 2501, 64)
        render.write_vibration_dataset(self.folder / "bearing-evaluation.npz", 3501, 200)

    def convert(self, recipe: str, *, model: str, version: str, serial: int) -> Made:
        """Run one conversion; see ``edgeops convert``.

        Raises:
            CheckFailedError: It failed or the accuracy budget refused the model.
        """
        title = f"{recipe}-{version}"
        document = self._recipe(recipe, {"model": model, "version": version, "serial": serial})
        path = self.folder / f"{title}.yaml"
        path.write_text(document)
        _, answer = programs.run(
            *("convert", "--recipe", str(path), "--out", str(self.folder / "bundles" / title)),
            *("--key", str(self.key), "--json"),
            cwd=self.folder,
            config_home=self.config_home,
        )
        said = mapping(answer, "edgeops convert")
        bundle = Path(text(said, "bundle"))
        return Made(
            name=VISUAL if recipe == "visual" else BEARING,
            version=version,
            folder=bundle if bundle.is_absolute() else self.folder / bundle,
            digest=text(said, "digest"),
            verdict=text(said, "verdict"),
            answer=said,
        )

    def _recipe(self, name: str, changes: Mapping[str, object]) -> str:
        document = plain((self.folder / f"{name}.yaml").read_bytes(), name=name)
        if not isinstance(document, dict):
            raise CheckFailedError(f"the recipe {name}.yaml is not a mapping")
        return yaml.safe_dump({**document, **changes}, sort_keys=False)


def figures(made: Made) -> ModelFigures:
    """Return float and int8 side by side, from the converter's own answer."""
    variants = {
        (text(v, "runtime"), text(v, "precision")): v
        for v in (mapping(v, "variant") for v in listed(made.answer, "variants"))
    }
    try:
        plain_float, int8 = variants["onnx", "float32"], variants["onnx", "int8"]
    except KeyError as error:
        raise CheckFailedError(f"{made.name} {made.version} lacks the variant {error}") from error
    known = mapping(int8.get("metrics"), "metrics")
    metric = next(name for name in (*DECIDING, *known) if name in known)
    return ModelFigures(
        name=f"{made.name} {made.version}",
        metric=metric,
        float=number(at(made.answer, "baseline", "metrics"), metric),
        int8=number(mapping(int8.get("metrics"), "metrics"), metric),
        float_bytes=int(number(plain_float, "size_bytes")),
        int8_bytes=int(number(int8, "size_bytes")),
        float_ms=number(mapping(plain_float.get("latency_ms"), "latency"), "p50"),
        int8_ms=number(mapping(int8.get("latency_ms"), "latency"), "p50"),
    )
