"""What the contracts share: the command, for what it says of the same records as a script."""

from __future__ import annotations

from tests.cli.conftest import command

__all__ = ["command"]
