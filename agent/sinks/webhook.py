"""Alerts as HTTP POST requests."""

import threading
from typing import Final
from urllib.parse import urlsplit

import urllib3

from agent.sinks.options import WebhookOptions
from agent.sinks.sink import SinkError
from edgeops import codec
from edgeops.backoff import Backoff
from edgeops.contracts.alert import AlertEvent

OK: Final = range(200, 300)
RETRIED: Final = frozenset({408, 425, 429, *range(500, 600)})


class WebhookSink:
    """Posts each event as JSON; ``event_id`` lets the receiver drop a repeat."""

    def __init__(self, options: WebhookOptions) -> None:
        self._options = options
        self._host = urlsplit(options.url).hostname or ""
        self._pool = urllib3.PoolManager(
            retries=False, timeout=urllib3.Timeout(total=float(options.timeout))
        )
        self._closing = threading.Event()

    def deliver(self, event: AlertEvent) -> None:
        """Post the event, again where that may help; raises ``SinkError`` when it did not."""
        body = codec.canonical(event)
        backoff = Backoff(base_s=0.5, cap_s=30.0)
        reason = ""
        for attempt in range(self._options.retries + 1):
            if attempt and self._closing.wait(backoff.next_s()):
                break
            try:
                answer = self._pool.request(
                    "POST",
                    self._options.url,
                    body=body,
                    headers={"Content-Type": "application/json"},
                    preload_content=False,
                    redirect=False,
                )
            except urllib3.exceptions.HTTPError as error:
                reason = type(error).__name__
                continue
            status = answer.status
            answer.close()
            if status in OK:
                return
            reason = f"status {status}"
            if status not in RETRIED:
                break
        raise SinkError(f"webhook at {self._host} did not take the event: {reason or 'stopping'}")

    def close(self) -> None:
        """Stop waiting between attempts and close the connections."""
        self._closing.set()
        self._pool.clear()
