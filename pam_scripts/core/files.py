"""Files that somebody else names: read only where reading them comes to an end."""

from __future__ import annotations

import stat
from pathlib import Path

_MOST_BYTES = 10_000_000


def is_plain_file(path: str | Path) -> bool:
    """Say whether a path leads to a file of a size that can be read: no pipe, no device, nothing without an end.

    Raises OSError where there is nothing.
    """
    found = Path(path).stat()
    return stat.S_ISREG(found.st_mode) and found.st_size <= _MOST_BYTES
