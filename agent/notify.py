"""Tells systemd that the agent is ready and alive (``sd_notify``); silent without systemd."""

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends states to the socket that ``NOTIFY_SOCKET`` names.

    Attributes:
        watchdog_s: How often systemd wants to hear ``WATCHDOG=1``; ``None``: never.
    """

    def __init__(self, variables: Mapping[str, str] = os.environ) -> None:
        address = variables.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        microseconds = variables.get("WATCHDOG_USEC", "")
        asked = microseconds.isdecimal() and int(microseconds) > 0
        self.watchdog_s = int(microseconds) / 1e6 if asked else None

    def send(self, state: str) -> None:
        """Send one state such as ``READY=1``; a socket that is gone is no reason to stop."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as end,
        ):
            end.sendto(state.encode(), self._address)
