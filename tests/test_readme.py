"""The README says what the code says."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import cast

import pytest

from pam_scripts.core import errors
from pam_scripts.core.fields import Field

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = sorted(path.stem for path in (ROOT / "pam_scripts").glob("*.py") if not path.name.startswith("__"))


def row(field: Field) -> str:
    """Write one field as the README's tables have it."""
    default = f"`{field.default}`" if field.default else "empty"
    default = "" if field.output else "required" if field.required else default
    return f"| `{field.label}` | {'out' if field.output else 'in'} | {field.type} | {field.meaning} | {default} |"


def table(script: str, name: str) -> str:
    """Write one of a script's field lists, FIELDS or ADMIN_FIELDS, as the whole body of a table."""
    contract = cast("tuple[Field, ...]", getattr(importlib.import_module(f"pam_scripts.{script}"), name))
    return "".join(f"{line}\n" for line in ["|---|---|---|---|---|", *map(row, contract), ""])


def section(title: str) -> str:
    """Return what stands below one heading of the second level; empty where there is none."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0] + "\n"


def slugs() -> list[str]:
    """Return the anchors of all headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", README, flags=re.DOTALL), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_has_a_section_with_the_fields_of_its_record(script: str) -> None:
    """The table has the script's own fields and no others, in its order, with their meanings and defaults."""
    assert table(script, "FIELDS") in section(f"`{script}`")


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_admin_records_table_stands_once(script: str) -> None:
    """Scripts with the same admin record share its table, which has the contract's fields and no others."""
    assert 1 == README.count(table(script, "ADMIN_FIELDS"))


def test_the_table_of_exit_statuses_has_every_status() -> None:
    """No error ends a script with a status that the README does not explain."""
    listed = {int(status) for status in re.findall(r"^\| (\d) \|", README, re.MULTILINE)}
    kinds = [
        item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.PamScriptError)
    ]
    assert {0, *(kind.status for kind in kinds)} == listed


def test_every_path_it_names_is_there() -> None:
    """A reader who follows the README finds what it points to."""
    named = set(re.findall(r"\]\(([\w./]+)\)", README)) | set(
        re.findall(r"`((?:pam_scripts|sandbox|tests)/[\w./]*)`", README)
    )
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_section_it_points_to_is_there() -> None:
    """A link within the README leads to one of its headings, and no two headings share an anchor."""
    anchors = slugs()
    pointed_to = set(re.findall(r"\]\(#([^)]+)\)", README))

    assert pointed_to
    assert set() == pointed_to - set(anchors)
    assert len(set(anchors)) == len(anchors)
