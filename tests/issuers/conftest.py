"""What the tests of issuers share."""

from __future__ import annotations

import pytest

from pam_scripts.core import retry
from pam_scripts.rotation import create


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have as many tries as ever between shorter waits."""
    monkeypatch.setattr(retry, "WAITS", tuple(0.001 for _ in retry.WAITS))
    monkeypatch.setattr(create, "_FIRST_PAUSE", 0.001)
