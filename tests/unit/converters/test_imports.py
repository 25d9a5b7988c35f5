"""What importing the converter does, and does not: seen from fresh processes."""

import os
import subprocess
import sys


def run(code: str, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**kept, **environment},
    )
    return done.stdout.strip()


def test_help_needs_no_heavy_library() -> None:
    code = (
        "import sys, converters.cli, converters.cli_evaluate, converters.cli_benchmark;"
        "print(sorted({'numpy', 'onnx', 'onnxruntime', 'cv2'} & set(sys.modules)))"
    )

    assert run(code) == "[]"


def test_onnx_runtime_is_silenced_before_it_is_imported() -> None:
    code = (
        "import os, sys;"
        "sys.meta_path.insert(0, type('Watch', (), {'find_spec': staticmethod("
        "lambda name, path=None, target=None: print(os.environ.get('ORT_DISABLE_TELEMETRY'))"
        " if name == 'onnxruntime' else None)}));"
        "import converters.ort"
    )

    assert run(code) == "1"
    assert run(code, ORT_DISABLE_TELEMETRY="0") == "1"
