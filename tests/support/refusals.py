"""Payloads with one thing wrong in them, and what must hold where a script refuses one by its own code."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from sandbox.gateway import RotationResult
from sandbox.plant import AnyPlant
from tests.support.invariants import assert_silent

Change = Callable[[dict[str, Any], Any], object]
"""What is changed in a payload, given it and its plant."""


def assert_refused(plant: AnyPlant, result: RotationResult, *parts: str) -> None:
    """Check for exit 2, and for one line on stderr that has all the parts and nothing secret."""
    assert 2 == result.returncode, result.stderr
    assert 1 == len(result.stderr.splitlines()), result.stderr
    assert result.stderr.startswith("error: ")
    assert [] == [part for part in (*parts, "nothing changed") if part not in result.stderr], result.stderr
    assert_silent(plant, result)


def encoded(value: object) -> bytes:
    """Write a value as the Gateway writes payloads."""
    return base64.b64encode(json.dumps(value).encode())


def payload_with(plant: AnyPlant, change: Change) -> bytes:
    """Return the plant's payload, changed: `records` is its list while `change` looks at it."""
    whole = json.loads(base64.b64decode(plant.payload()))
    whole["records"] = json.loads(base64.b64decode(whole["records"]))
    change(whole, plant)
    if isinstance(whole.get("records"), list):
        whole["records"] = encoded(whole["records"]).decode()
    return encoded(whole)


def record_in(whole: dict[str, Any], uid: str) -> dict[str, Any]:
    """Return one record of an opened payload."""
    found: dict[str, Any] = next(item for item in whole["records"] if item["uid"] == uid)
    return found


def with_field(plant: AnyPlant, label: str, value: str, uid: str = "") -> bytes:
    """Return the plant's payload with another value in a field of the PAM User record, or of another."""
    return payload_with(plant, lambda whole, _: record_in(whole, uid or plant.user_uid).update({label: value}))
