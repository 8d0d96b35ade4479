"""The README, the pages and the reference say what the code says, each thing in one place."""

from __future__ import annotations

import inspect
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from pam_scripts.assembly.script import Script
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core import errors
from pam_scripts.core.fields import Field
from tools import reference

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REFERENCE = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs/reference").glob("*.md")}
OTHERS = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")]
LINES = [line for text in (README, *OTHERS, *REFERENCE.values()) for line in text.splitlines()]

each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: one.stem)


def plain(text: str) -> str:
    """Return text without what marks code and escapes in a table."""
    return re.sub(r"[`\\]", "", text)


def rows(field: Field[Any]) -> list[str]:
    """Return every line of the documents that is the row of a field: its label, and all that it says of it."""
    if field.output:
        said = [field.type, field.meaning]
    else:
        said = [field.parser.expected, "*required*" if field.required else field.default or "*empty*", field.meaning]
    cells = [plain(part) for part in said]
    return [
        line
        for line in LINES
        if line.startswith(f"| `{field.label}` |") and set(cells) <= set(plain(line).strip("| ").split(" | "))
    ]


def section(text: str, title: str) -> str:
    """Return what stands below one heading of the second level; empty where there is none."""
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0] + "\n"


def test_the_readme_is_read_in_one_sitting() -> None:
    """It has 200 lines at most."""
    assert len(README.splitlines()) <= 200


@each_script
def test_each_script_has_a_page_that_leads_to_its_fields(script: Script) -> None:
    """Who reads of a script in the README finds its page with one click, and its fields with another."""
    page = (ROOT / f"docs/{script.stem}.md").read_text(encoding="utf-8")

    assert f"](docs/{script.stem}.md)" in README
    assert f"](reference/{script.stem}.md)" in page
    assert "## Its own errors" in page


def test_the_readme_leads_to_every_page() -> None:
    """No page of docs/ is found by chance only."""
    assert [] == [path.name for path in (ROOT / "docs").glob("*.md") if f"](docs/{path.name})" not in README]


@each_script
def test_each_script_is_in_the_lists_of_all_scripts(script: Script) -> None:
    """Who is woken by one finds its errors; who sets another up than the first finds what differs in its records."""
    troubleshoot, steps = ((ROOT / f"docs/{name}.md").read_text("utf-8") for name in ("troubleshoot", "set-up-one-key"))

    assert f"]({script.stem}.md#its-own-errors)" in troubleshoot
    assert script is SCRIPTS[0] or f"| [`{script.stem}`]({script.stem}.md) |" in steps


@each_script
def test_each_page_begins_with_the_smallest_record_that_is_enough(script: Script) -> None:
    """It names each field of that record and of the one attached to it, which the reference has with an example."""
    page = (ROOT / f"docs/{script.stem}.md").read_text(encoding="utf-8")
    smallest = page.partition("- **The smallest record**")[2].partition("\n- **")[0]
    fields = [label for record in reference.SMALLEST[script.stem] for label in record]

    assert [] == [label for label in fields if f"`{label}`" not in smallest]


@each_script
def test_each_script_has_a_page_with_all_its_fields(script: Script) -> None:
    """Each part of the page names the contract's fields and no others: those filled in, those written, the admin's."""
    text = REFERENCE[f"{script.stem}.md"]
    for title, fields in (
        ("What is filled in", script.inputs),
        ("What a rotation writes", script.outputs),
        ("The admin record", script.admin_fields),
    ):
        first_cells = re.findall(r"^\| (`.+?`) \|", section(text, title), re.MULTILINE)
        named = [label for cell in first_cells for label in re.findall(r"`(\w+)`", cell)]
        assert sorted(field.label for field in fields) == sorted(named), title


@each_script
def test_the_row_of_each_field_stands_once(script: Script) -> None:
    """What a field takes, its default and its meaning are in one row, wherever scripts share the field."""
    assert {1} == {len(rows(field)) for field in chain(script.fields, script.admin_fields)}


def test_the_admin_records_table_stands_once() -> None:
    """Scripts with the same admin record share its table, with the contract's fields, as far as no other has them."""
    for script in SCRIPTS:
        if script.issuer.ADMIN_FIELDS:
            below = section(REFERENCE["admin-records.md"], script.admin_title)
            cells = re.findall(r"^\| (`.+?`) \|", below, re.MULTILINE)
            labels = [label for cell in cells for label in re.findall(r"`(\w+)`", cell)]
            assert sorted(field.label for field in script.issuer.ADMIN_FIELDS) == sorted(labels)
            assert script.stem in below


def test_the_tables_of_exit_statuses_have_every_status() -> None:
    """No error ends a script with a status that troubleshooting and the reference do not explain."""
    kinds = [
        each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, errors.PamScriptError)
    ]
    expected = {0, *(kind.status for kind in kinds)}

    troubleshoot = section((ROOT / "docs/troubleshoot.md").read_text(encoding="utf-8"), "By exit status")
    for text in (troubleshoot, REFERENCE["exit-statuses.md"]):
        assert expected == {int(status) for status in re.findall(r"^\| (\d) \|", text, re.MULTILINE)}
