"""Camera addresses carry passwords; nothing that people read may."""

import re
from typing import Final

_USER_INFO: Final = re.compile(r"(?<=://)[^/@\s]+@")


def redacted(text: str) -> str:
    """Return ``text`` with ``user:password@`` of every address replaced by ``***@``."""
    return _USER_INFO.sub("***@", text)
