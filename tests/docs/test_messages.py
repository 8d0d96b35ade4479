"""A message that a page quotes is one that the code has: whoever searches a page for the line at hand finds it."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import pytest

from pam_scripts.cli.scripts import SCRIPTS
from tests.conftest import ROOT
from tests.docs.pages import PAGES, prose, words

GAP = "\0"
LABELS = {field.label for script in SCRIPTS for field in (*script.fields, *script.logins, *script.configured)}
# The longest name or noun that is filled in, in words.
MOST_FILLED_IN = 4

# Quotes of other programs, what a template is filled in with, and names that people give.
OTHERS = {
    # Keeper Commander's.
    "Script file not found (skipped)",
    "Unable to resolve script creds",
    "missing required field password",
    # A field of older Gateways, and a record's title.
    "Private Key Type",
    "Seeq key Reports",
}
# What a command begins with; tests/docs/test_commands.py holds those to their programs.
PROGRAMS = {"az", "chmod", "import", "keeper", "make", "mv", "pam", "pam-scripts", "pip", "python", "sudo"}
PROGRAMS |= {"bao", "vault", "compromised", "aws", "func"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@dataclass(frozen=True)
class Literal:
    """One text of the code, as words; GAP stands where something is filled in."""

    words: Sequence[str]
    known: frozenset[str]


@functools.cache
def literals() -> Sequence[Literal]:
    """Return every text in the code but docstrings; those that are written in one piece, and f-strings with gaps."""
    found: dict[str, None] = {}
    for path in (ROOT / "pam_scripts").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        parts |= {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                pieces = (str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values)
                found["".join(pieces)] = None
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                found[node.value] = None
    texts = [[plain(word) for word in text.split()] for text in found]
    return [Literal(text, frozenset(text)) for text in texts]


@functools.cache
def whole_text() -> str:
    """Return all texts, one to a line."""
    return "\n".join(" ".join(one.words) for one in literals())


@functools.cache
def beginnings() -> set[str]:
    """Return what each text in the code begins with: its first word, its first two, and so on."""
    return {" ".join(one.words[:size]) for one in literals() for size in range(1, MOST_FILLED_IN + 1)}


def plain(word: str) -> str:
    """Return a word without the marks that end or open a part of a sentence."""
    return word.strip(".,:;()")


def is_filled_in(word: str) -> bool:
    """Say whether a word of a quote stands for another: in capitals, as X or 'F', or in braces."""
    return bool(re.fullmatch(r"'?[A-Z]{1,12}'?|{\w+}", word))


def is_said(quote: str) -> bool:
    """Say whether the code has a quote: in one text, or part by part as it is put together of several."""
    whole = [plain(word) for word in quote.split()]
    parts = [part.strip() for part in re.split(r"[:;()]|\.\.\.|, ", quote)]
    return is_in_one_text(whole) or all(_is_part_said(part) for part in parts if part)


def _is_part_said(part: str) -> bool:
    if status := re.fullmatch(r"(\d{3}) (.+)", part):
        return HTTPStatus(int(status[1])).phrase == status[2]
    if (of_field := re.fullmatch(r"field '(\w+)' (.+)", part)) and of_field[1] in LABELS:
        part = of_field[2]
    return is_in_one_text([plain(word) for word in part.split()])


def is_in_one_text(quoted: Sequence[str]) -> bool:
    """Say whether words stand in one text of the code, one after the other, but for what is filled in."""
    told = [word for word in quoted if not is_filled_in(word)]
    if not told:
        return True
    if " ".join(quoted) in whole_text():
        return True
    # Of what it quotes, a quarter of the words at least stand in the text as they are.
    candidates = [one for one in literals() if 4 * sum(word in one.known for word in told) >= len(told)]
    return any(_continues(quoted, one.words[at:]) for one in candidates for at in range(len(one.words)))


def _continues(quoted: Sequence[str], text: Sequence[str], same: int = 0, filled: int = 0) -> bool:
    """Say whether a text goes on as a quote does.

    same, filled: how many words so far are the same, and how often something else than a label or a word in capitals is
    filled in. There must be as many of the one as of the other: gaps alone would be any sentence.
    """
    if not quoted or not text:
        return not quoted and 0 < same >= filled
    word, *rest = text
    if GAP not in word:
        if quoted[0] == word:
            return _continues(quoted[1:], rest, same + 1, filled)
        return is_filled_in(quoted[0]) and _continues(quoted[1:], rest, same, filled)
    # What is filled in may be nothing, too.
    if word == GAP and _continues(quoted, rest, same, filled):
        return True
    pattern = re.compile(re.escape(word).replace(re.escape(GAP), "(.*)"))
    for size in range(1, min(MOST_FILLED_IN, len(quoted)) + 1):
        found = pattern.fullmatch(" ".join(quoted[:size]))
        cost = _cost(found.groups()) if found else None
        if cost is not None and _continues(quoted[size:], rest, same, filled + cost):
            return True
    return False


def _cost(fills: Iterable[str]) -> int | None:
    """Return how many of what is filled in are words of the code; None where any are neither those nor names."""
    told = [" ".join(word for word in fill.split() if not is_filled_in(word)) for fill in fills]
    others = [text for text in told if text and text.strip("'") not in LABELS]
    return len(others) if {*others} <= beginnings() else None


def quoted_lines(page: Path) -> Iterator[str]:
    """Yield what stands as code in the column 'the line says' of a page's tables."""
    column = -1
    for line in prose(page).splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            column = -1
        elif "the line says" in cells:
            column = cells.index("the line says")
        elif column >= 0:
            yield from re.findall(r"`([^`]+)`", cells[column])


def quoted_sentences(page: Path) -> Iterator[str]:
    """Yield what stands as code elsewhere in a page and reads as a sentence: three words or more, and no command."""
    for text in words(page):
        told = text.split()
        if len(told) > 2 and told[0] not in PROGRAMS and re.fullmatch(r"[A-Za-z][\w' ,:;().-]+", text):
            yield text


@each_page
def test_every_message_that_a_page_quotes_is_one_of_the_code(page: Path) -> None:
    """What a page quotes stands in one text of the code, but for names and numbers that are filled in."""
    quotes = dict.fromkeys([*quoted_lines(page), *quoted_sentences(page)])

    assert [] == [quote for quote in quotes if quote not in OTHERS and not is_said(quote)]


@pytest.mark.parametrize(
    ("quote", "said"),
    [
        ("no user has this name", True),
        ("no user has that name", False),
        ("entra: read application X: 404 Not Found", True),
        ("entra: read application X: 404 Gone Away", False),
        ("field 'azure_cloud' is", True),
        ("field 'azure_cloud' is wrong tonight", False),
        ("field 'value_template' is no JSON", True),
        ("field 'value_colour' is no JSON", False),
        ("key vault: ... 403 Forbidden (SuchCodeIsUnknown)", False),
        ("the vault is on holiday", False),
    ],
)
def test_a_message_that_the_code_does_not_have_is_found(quote: str, said: bool) -> None:
    """One word another, a status with another phrase, a field or a code that nobody has: each is told."""
    assert said == is_said(quote)
