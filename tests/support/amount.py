"""How much is tried: what lands must pass more than a developer waits for."""

from __future__ import annotations

import os

EXHAUSTIVE = os.environ.get("FAULTS") == "all"
"""`FAULTS=all`: leave out nothing, however long it takes."""

THOROUGH = EXHAUSTIVE or os.environ.get("FAULTS") == "more"
"""`FAULTS=more`: draw more, and leave out no test, as what lands must pass; `all` includes it."""

DRAWN = 2 if THOROUGH else 1
"""How many trials of a kind are drawn where not all is gone through: each run of the tests draws others."""
