"""The README says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pam_scripts.core import errors
from pam_scripts.core.fields import Field
from pam_scripts.rotate_seeq_application_key import ADMIN_FIELDS, FIELDS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def row(field: Field) -> str:
    """Write one field as the README's tables have it."""
    default = f"`{field.default}`" if field.default else "empty"
    default = "" if field.output else "required" if field.required else default
    return f"| `{field.label}` | {'out' if field.output else 'in'} | {field.type} | {field.meaning} | {default} |"


@pytest.mark.parametrize("contract", [FIELDS, ADMIN_FIELDS], ids=["PAM User record", "admin record"])
def test_the_tables_of_fields_are_the_contract(contract: tuple[Field, ...]) -> None:
    """Each record's table has the script's own fields, in its order, with their meanings and defaults."""
    assert "\n".join(row(field) for field in contract) in README


def test_the_table_of_exit_statuses_has_every_status() -> None:
    """No error ends a script with a status that the README does not explain."""
    listed = {int(status) for status in re.findall(r"^\| (\d) \|", README, re.MULTILINE)}
    kinds = [
        item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.PamScriptError)
    ]
    assert {0, *(kind.status for kind in kinds)} == listed


def test_every_path_it_names_is_there() -> None:
    """A reader who follows the README finds what it points to."""
    root = Path(__file__).parents[1]
    named = set(re.findall(r"\]\(([\w./]+)\)", README)) | set(
        re.findall(r"`((?:pam_scripts|sandbox|tests)/[\w./]*)`", README)
    )
    assert named
    assert [path for path in sorted(named) if not (root / path).exists()] == []
