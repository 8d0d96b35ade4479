"""Whoever follows a link or a path in a document arrives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "record_templates/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
DIRECTORIES = "bench|docs|examples|pam_scripts|record_templates|sandbox|tests|tools"


def prose(page: Path) -> str:
    """Return a page's text without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> list[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def links(page: Path) -> list[str]:
    """Return what a page's links lead to, but for other sites."""
    text = prose(page)
    found = [*re.findall(r"\]\(([^)\s]*)\)", text), *re.findall(r'(?:src|srcset)="([^"]*)"', text)]
    return [link for link in found if not link.startswith("https://")]


def dead(page: Path) -> list[str]:
    """Return a page's links that lead to no file, or to no heading of it."""
    found = []
    for link in links(page):
        path, sign, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (sign and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Files and headings that a page links to are there, and no two of its headings share an anchor."""
    own = anchors(page)

    assert [] == dead(page)
    assert len(set(own)) == len(own)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    """A file or directory of the repository that stands in a page as code is one."""
    named = re.findall(rf"`((?:{DIRECTORIES})/[\w./]*)`", prose(page))

    assert [] == [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    """A page that says which test holds a promise names one that is run."""
    named = re.findall(r"`(test_\w+)`", prose(page))
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")] if named else []

    assert [] == [name for name in named if not any(f"def {name}(" in text for text in tests)]


def test_the_main_pages_have_links() -> None:
    """What finds links finds some: in the README to headings, files and headings of files."""
    found = links(ROOT / "README.md")

    assert "docs/safety.md" in found
    assert "docs/pictures/rotation.svg" in found
    assert "docs/set-up-one-key.md#4-the-script" in found


def test_pictures_are_small_and_for_light_and_dark() -> None:
    """A repository keeps each for ever: 150 KB are enough; that of the page is there in both schemes."""
    pictures = sorted((ROOT / "docs/pictures").iterdir())

    assert [] == [path.name for path in pictures if path.stat().st_size > 150_000]
    assert {"docs/pictures/audit-dark.png", "docs/pictures/audit-light.png"} <= {*links(ROOT / "README.md")}


def test_a_dead_link_is_seen(tmp_path: Path) -> None:
    """A file that is not there, a heading that is not there, here or in another file; not what stands in code."""
    (tmp_path / "other.md").write_text("# Other\n\n## A `word_or` two\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n[a](other.md#a-word_or-two) [b](#page) [c](https://host.example/)\n\n"
        "[d](none.md) [e](#none) [f](other.md#none)\n\n```\n[g](code.md)\n# no heading\n```\n"
    )

    assert ["none.md", "#none", "other.md#none"] == dead(page)
