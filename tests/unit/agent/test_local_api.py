"""The local API outlives a machine that has no thread to spare."""

import http.client
import threading
from pathlib import Path

import pytest

from agent.api import MAX_REQUESTS, LocalApi


def _asked(api: LocalApi) -> int:
    """Return the status of one answer, 0 where the line was closed without one."""
    connection = http.client.HTTPConnection(api.endpoint.host, api.endpoint.port, timeout=5)
    try:
        connection.request("GET", "/v1/alerts")
        return connection.getresponse().status
    except (http.client.HTTPException, OSError):
        return 0
    finally:
        connection.close()


def test_threads_that_cannot_start_use_up_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_status() -> None:
        raise AssertionError("not asked for")

    api = LocalApi(
        ("127.0.0.1", 0),
        state_dir=tmp_path,
        status=no_status,  # type: ignore[arg-type]  # alerts alone are asked for
        alerts=lambda _limit: (),
    )
    api.start()

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    try:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            assert {_asked(api) for _ in range(MAX_REQUESTS + 1)} == {0}
        assert _asked(api) == http.client.OK
    finally:
        api.stop()
