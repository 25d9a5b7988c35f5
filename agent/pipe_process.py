"""Starts, watches and ends the process of one pipe."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from typing import IO, Final

from agent.heartbeat import Beat, Heartbeat
from agent.messages import (
    STUCK_SOURCE_STATUS,
    FromPipe,
    ToPipe,
    decode_from_pipe,
    encode,
)
from agent.packets import PacketSocket

logger = logging.getLogger(__name__)

MAX_LINE: Final = 500
TAIL_LINES: Final = 5
REAP_S: Final = 5.0


class PipeProcess:
    """A running child with its socket, its heartbeat and the tail of what it wrote to stderr."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._packets, theirs = PacketSocket.pair()
        descriptor = Heartbeat.new_descriptor()
        try:
            self._heartbeat = Heartbeat(descriptor)
            self._child = subprocess.Popen(
                [sys.executable, "-m", "agent.pipe", str(theirs.fileno()), str(descriptor)],
                pass_fds=(theirs.fileno(), descriptor),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env={
                    "OPENCV_LOG_LEVEL": "ERROR",
                    "OPENCV_FFMPEG_LOGLEVEL": "-8",
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                },
            )
        finally:
            theirs.close()
            os.close(descriptor)
        self._reader: threading.Thread | None = None
        if self._child.stderr is not None:
            self._reader = threading.Thread(
                target=self._log_lines,
                args=(self._child.stderr,),
                name=f"stderr-{name}",
                daemon=True,
            )
            self._reader.start()

    @property
    def pid(self) -> int:
        """Return the child's process id."""
        return self._child.pid

    @property
    def source_was_stuck(self) -> bool:
        """Return whether the child ended because a driver did not return; after ``end``."""
        return self._child.returncode == STUCK_SOURCE_STATUS

    def send(self, message: ToPipe) -> None:
        """Send one message; raises ``PeerGoneError``."""
        self._packets.send(encode(message))

    def receive(self, wait_s: float) -> FromPipe | None:
        """Return the next message, or ``None`` within ``wait_s``; raises ``PeerGoneError``."""
        packet = self._packets.receive(wait_s)
        return None if packet is None else decode_from_pipe(packet)

    def beat(self) -> Beat:
        """Return the child's last sign of life."""
        return self._heartbeat.read()

    def kill(self) -> None:
        """Kill the child and whatever it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)

    def end(self, grace_s: float) -> str:
        """Close the socket, wait for the child's end or kill it; say how it ended."""
        self._packets.close()
        try:
            status = self._child.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self._child.wait(REAP_S)
        if self._reader is not None:
            self._reader.join(REAP_S)
        if self._child.stderr is not None:
            self._child.stderr.close()
        self._heartbeat.close()
        return self._words(status)

    def _words(self, status: int) -> str:
        if status == 0:
            return "ended"
        how = f"exit status {status}"
        if status < 0:
            try:
                how = signal.Signals(-status).name
            except ValueError:
                how = f"signal {-status}"
        last = f": {self._tail[-1]}" if self._tail else ""
        return f"{how}{last}"

    def _log_lines(self, stream: IO[bytes]) -> None:
        for line in stream:
            text = line[:MAX_LINE].decode(errors="replace").rstrip()
            if text:
                self._tail.append(text)
                logger.warning("pipe %s: %s", self._name, text)
