"""One end of the socket between a supervisor and a pipe: whole packets, or the end."""

import select
import socket
from typing import Final, Self

from edgeops.errors import TransportError

_BUFFER_BYTES: Final = 1 << 20
_RECEIVE_BYTES: Final = 128 * 1024


class PeerGoneError(TransportError):
    """The other end is closed; nothing more will come or go."""

    code = "peer-gone"


class PacketSocket:
    """Sends and receives packets over an ``AF_UNIX`` ``SOCK_SEQPACKET`` socket."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    @classmethod
    def pair(cls) -> tuple[Self, socket.socket]:
        """Return our end and the raw other end for a child."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        return cls(ours), theirs

    @classmethod
    def inherited(cls, descriptor: int) -> Self:
        """Return the end that a parent passed on."""
        return cls(socket.socket(fileno=descriptor))

    def send(self, packet: bytes) -> None:
        """Send one packet; waits while the other end is behind.

        Raises:
            PeerGoneError: The other end is closed.
        """
        try:
            self._socket.send(packet)
        except (BrokenPipeError, ConnectionResetError, OSError) as error:
            raise PeerGoneError(f"cannot send: {error.strerror or error}") from error

    def receive(self, wait_s: float) -> bytes | None:
        """Return the next packet, or ``None`` where none came within ``wait_s`` seconds.

        Raises:
            PeerGoneError: The other end is closed and everything was read.
        """
        try:
            if wait_s > 0.0 and not self._poll.poll(wait_s * 1000.0):
                return None
            packet = self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            raise PeerGoneError(f"cannot receive: {error.strerror or error}") from error
        if not packet:
            raise PeerGoneError("the other end was closed")
        return packet

    def wait_for_hangup(self) -> None:
        """Block until the other end is closed; uses nothing that ``receive`` would miss."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        poll.poll()

    def close(self) -> None:
        """Close this end; safe to call twice."""
        self._socket.close()
