"""Asks our own servers on loopback for JSON."""

import http.client
import json
from typing import Final
from urllib.parse import urlsplit

from edgeops.codec import JsonValue
from edgeops.errors import TransportError

LIMIT_S: Final = 5.0


def get_json(url: str, *, token: str = "") -> JsonValue:
    """Return the JSON document at ``url``.

    Raises:
        TransportError: Nobody answers, or not with 200 and JSON.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=LIMIT_S)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        if response.status != http.client.OK:
            raise TransportError(f"{url} answered {response.status}: {body[:200]!r}")
        found: JsonValue = json.loads(body)
    except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
        raise TransportError(f"{url}: {error}") from error
    else:
        return found
    finally:
        connection.close()
