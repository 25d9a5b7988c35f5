"""The structure that the design promises, checked on the code as it is."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("edgeops", "converters", "agent", "fleet", "firmware_images")
HEAVY = ("numpy", "cv2", "onnx", "onnxruntime", "ai_edge_litert", "tflite_runtime", "sklearn")
SERVER = ("fastapi", "aiohttp", "sqlalchemy", "alembic", "uvicorn")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def imports_of(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def loaded_by(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


COMMANDS = sorted(point.value for point in entry_points(group="edgeops.commands"))


@pytest.mark.parametrize("value", COMMANDS)
def test_a_command_module_is_light(value: str) -> None:
    """``edgeops --help`` imports them all: heavy libraries load only when a command runs."""
    module = value.partition(":")[0]
    assert not loaded_by(f"import {module}") & {*HEAVY, *SERVER, "paho", "urllib3"}


def test_the_agents_supervisor_has_no_runtime_and_no_pixels() -> None:
    """The supervisor stays small: pixels and runtimes live in one child per pipeline."""
    program = "import agent.daemon, agent.update.runner, edgeops.inference.variants"
    assert not loaded_by(program) & {*HEAVY, *SERVER}


RUNTIME_ADAPTERS = {
    "onnxruntime": ("edgeops/inference/runtimes/", "converters/ort.py"),
    "ai_edge_litert": ("edgeops/inference/runtimes/", "converters/tflite/", "edgeops/testing/"),
    "tflite_runtime": ("edgeops/inference/runtimes/",),
}


@pytest.mark.parametrize("library", RUNTIME_ADAPTERS)
def test_a_runtime_is_imported_by_its_adapter_only(library: str) -> None:
    offenders = [
        path
        for path, tree in modules()
        if any(name.partition(".")[0] == library for name in imports_of(tree))
        and not path.startswith(RUNTIME_ADAPTERS[library])
    ]
    assert not offenders


def test_onnxruntime_never_phones_home() -> None:
    """The switch is set in every module that imports it (its wheels look up a host otherwise)."""
    offenders = [
        path
        for path, tree in modules()
        if "onnxruntime" in {name.partition(".")[0] for name in imports_of(tree)}
        and "ORT_DISABLE_TELEMETRY" not in (ROOT / path).read_text()
    ]
    assert not offenders


def test_the_five_packages_come_from_one_place() -> None:
    """``agent`` and ``fleet`` are common words: no other distribution may answer to them."""
    places = {}
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        places[package] = Path(spec.origin).parents[1]
    assert len(set(places.values())) == 1, places


def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = (
        "python3 -m venv .venv"
        ' && .venv/bin/pip install -q -e ".[all,test]"'
        " && .venv/bin/pytest -n 2"
    )
    assert command in (ROOT / "README.md").read_text()
    assert f"\n{command}\n" in (ROOT / ".ci/run").read_text()


def test_no_file_has_grown_past_reading() -> None:
    long = {
        path: lines
        for path, _ in modules()
        if (lines := len((ROOT / path).read_text().splitlines())) > 500
    }
    assert not long


def test_the_rules_between_packages_hold() -> None:
    pytest.importorskip("importlinter", reason="import-linter is in the lint extra")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
