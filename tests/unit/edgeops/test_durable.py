"""Files are replaced whole or not at all, and failures are one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgeops import durable
from edgeops.errors import StorageError


def test_a_write_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "state"
    durable.write_atomic(target, b"old")
    durable.write_atomic(target, b"new")
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "state"
    target.write_bytes(b"old")
    # A limit on file sizes makes the kernel refuse the write, as a full disk does.
    program = f"""
import resource, signal
from pathlib import Path
from edgeops import durable
from edgeops.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    durable.write_atomic(Path({str(target)!r}), b"x" * 100_000)
except StorageError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert "cannot write" in done.stdout
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        durable.write_atomic(tmp_path / "no" / "state", b"x")


def test_a_link_is_switched_in_one_step(tmp_path: Path) -> None:
    durable.switch_link(tmp_path / "current", "a")
    durable.switch_link(tmp_path / "current", "b")
    assert (tmp_path / "current").readlink() == Path("b")
    assert len(list(tmp_path.iterdir())) == 1
