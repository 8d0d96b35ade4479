"""How Azure's services refuse a request."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):
    """A request that Graph, Resource Manager or Container Apps refuses: HTTP status, code, message, headers."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers
