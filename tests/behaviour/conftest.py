"""What the tests of the attached files share: plants that no test may send a request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar

import pytest

from sandbox.plant import AnyPlant, on_loopback

P = TypeVar("P", bound=AnyPlant)


class Idle(Protocol):
    """Gives the one plant of a kind, with these options, that is only ever read."""

    def __call__(self, kind: type[P], /, **options: object) -> P:
        """Make it where there is none yet."""


@pytest.fixture(scope="session")
def idle() -> Iterator[Idle]:
    """Return the plants that are there for their payloads: whoever gets a request has a test that fails."""
    made: dict[object, Any] = {}
    with ExitStack() as stack:

        def give(kind: type[P], /, **options: object) -> P:
            key = (kind, *sorted(options.items()))
            if key not in made:
                made[key] = stack.enter_context(on_loopback(kind, **options))
            plant: P = made[key]
            return plant

        yield give
