"""The exporter as a process: one model through it, and every way in which it can end."""

import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.arrays import Feeds
from converters.exporters.request import Request
from converters.importing.exporter_process import PYTHON_VARIABLE, ExportedModel
from converters.importing.gate import compare
from converters.importing.importer import import_model
from converters.importing.origin import open_origin
from converters.onnx_format import serialize
from converters.ort import OrtModel
from edgeops import cli
from edgeops.errors import ConversionError, EdgeOpsError, MissingExtraError, UsageError

FACTORY = """
    import os, sys, threading

    print("noise on standard output")

    def linear():
        from sklearn.linear_model import LinearRegression
        assert os.path.exists("factory.py"), "paths start in the recipe's folder"
        return LinearRegression().fit([[0, 0], [1, 0], [0, 2]], [1, 2, 5])

    def aborts():
        sys.stderr.write("the heap is gone\\n")
        sys.stderr.flush()
        os.abort()

    def waits():
        threading.Event().wait()

    def pid_and_waits():
        with open("pid", "w") as file:
            file.write(str(os.getpid()))
        os.rename("pid", "started")
        threading.Event().wait()

    def counted():
        with open("count", "a") as file:
            file.write("x")
        return linear()

    def leaves():
        sys.exit(3)

    def lacks():
        import no_such_framework

    def errs():
        raise RuntimeError("weights.bin is not there")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "factory.py").write_text(textwrap.dedent(FACTORY))
    return tmp_path


def request(folder: Path, name: str) -> Request:
    return Request(kind="sklearn", spec=f"factory:{name}", folder=str(folder))


def test_a_model_goes_through_whole(folder: Path) -> None:
    pytest.importorskip("skl2onnx", reason="needs the extra sklearn")
    origin = open_origin("factory:linear", folder, source_format="sklearn", shapes={})
    graph = import_model(origin.onnx)
    feeds: list[Feeds] = [
        {"x": np.asarray([[a, b]], np.float32)} for a in range(3) for b in (-1, 4)
    ]

    result = compare(origin.reference, OrtModel(serialize(graph)), feeds)

    assert result.relative < 1e-6
    assert origin.reference.run({"x": np.asarray([[1, 2]], np.float32)})["values"] == (
        pytest.approx(np.asarray([[6.0]]), rel=1e-6)
    )
    assert origin.title == "factory:linear"
    assert [node.op for node in graph.nodes] == ["Gemm"]


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("aborts", ConversionError, "status -6: .*the heap is gone|ended with status -6"),
        ("leaves", ConversionError, "ended with status 3"),
        ("errs", ConversionError, "RuntimeError: weights.bin is not there"),
        ("lacks", MissingExtraError, r"'no_such_framework': pip install 'edgeops\[sklearn\]'"),
        ("gone", UsageError, "no function 'gone'"),
    ],
)
def test_an_export_that_fails_says_why(
    folder: Path, name: str, kind: type[EdgeOpsError], reason: str
) -> None:
    pytest.importorskip("skl2onnx", reason="needs the extra sklearn")

    with pytest.raises(kind, match=reason):
        ExportedModel(request(folder, name))


def test_an_export_that_hangs_is_stopped(folder: Path) -> None:
    with pytest.raises(ConversionError, match="took too long"):
        ExportedModel(request(folder, "waits"), export_seconds=0.1)


def wait_until(done: Callable[[], bool]) -> None:
    """Wait for another process, half a minute at most."""
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline, "nothing happened"
        threading.Event().wait(0.02)


def is_gone(pid: int) -> bool:
    """Whether no such process runs; one that has ended may wait to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_export_ends_with_the_converter(folder: Path, number: signal.Signals) -> None:
    """However that ends; the exporter in its factory reads no input that could end."""
    pytest.importorskip("skl2onnx", reason="needs the extra sklearn")
    words = ["convert", "factory:pid_and_waits", "--format", "sklearn", "--out", "out"]
    converter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from edgeops.cli import main; sys.exit(main())",
            *words,
        ],
        cwd=folder,
        stderr=subprocess.DEVNULL,
    )
    wait_until((folder / "started").exists)
    exporter = int((folder / "started").read_text())

    converter.send_signal(number)

    assert converter.wait(30) != 0
    wait_until(lambda: is_gone(exporter))
    assert not (folder / "out").exists()


def test_a_conversion_without_a_recipe_exports_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("skl2onnx", reason="needs the extra sklearn")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "settings"))
    monkeypatch.chdir(folder)

    status = cli.main(
        ["convert", "factory:counted", "--format", "sklearn", "--raw", "--out", "out"]
    )

    assert status == 0
    assert (folder / "count").read_text() == "x"


def test_a_closed_exporter_answers_no_more(folder: Path) -> None:
    pytest.importorskip("skl2onnx", reason="needs the extra sklearn")
    model = ExportedModel(request(folder, "linear"))
    model.close()

    with pytest.raises(ConversionError, match="ended already"):
        model.run({"x": np.zeros((1, 2), np.float32)})


def test_another_interpreter_has_to_exist_and_to_know_edgeops(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, str(folder / "gone"))
    with pytest.raises(UsageError, match=PYTHON_VARIABLE):
        ExportedModel(request(folder, "linear"))

    bare = folder / "python"
    bare.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S "$@"\n')
    bare.chmod(0o700)
    monkeypatch.setenv(PYTHON_VARIABLE, str(bare))
    with pytest.raises(ConversionError, match="needs edgeops installed"):
        ExportedModel(request(folder, "linear"))
