"""Sends results to the supervisor: at once while they are rare, in batches when they are many."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import msgspec

from agent.messages import Item, encode_item, join_items
from edgeops.clock import Clock

QUIET_S: Final = 0.02
"""Results closer together than this travel together."""

MAX_BATCH: Final = 64
MAX_BATCH_BYTES: Final = 48 * 1024
MAX_OBJECTS: Final = 100


class Emitter:
    """Collects results for at most ``QUIET_S`` and sends them in one packet.

    Args:
        send: Sends one packet; blocks while the supervisor is behind, so that nothing is lost.
    """

    def __init__(self, send: Callable[[bytes], None], clock: Clock) -> None:
        self._send = send
        self._clock = clock
        self._items: list[bytes] = []
        self._bytes = 0
        self._sent_at = -1.0

    def add(self, item: Item) -> None:
        """Take one result; sends where the last packet left more than ``QUIET_S`` ago."""
        data = encode_item(item)
        if len(data) > MAX_BATCH_BYTES:
            data = encode_item(shortened(item))
        if self._bytes + len(data) > MAX_BATCH_BYTES:
            self.flush()
        self._items.append(data)
        self._bytes += len(data) + 1
        due = self._clock.monotonic() - self._sent_at >= QUIET_S
        if due or len(self._items) >= MAX_BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what is waiting."""
        if not self._items:
            return
        packet = join_items(self._items)
        self._items.clear()
        self._bytes = 0
        self._send(packet)
        self._sent_at = self._clock.monotonic()


def shortened(item: Item) -> Item:
    """Return a result that fits a packet: the best objects, and no scores but the best."""
    if item.result is None:
        return msgspec.structs.replace(item, detail=item.detail[:MAX_OBJECTS])
    result = replace(item.result, objects=item.result.objects[:MAX_OBJECTS], scores=())
    short = msgspec.structs.replace(item, result=result)
    if len(encode_item(short)) > MAX_BATCH_BYTES:
        short = msgspec.structs.replace(short, result=replace(result, objects=()))
    return short
