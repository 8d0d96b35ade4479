"""What pages show as a command's output is what it prints."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from tools import outputs


def test_every_output_in_a_page_is_what_the_command_prints_now() -> None:
    """The commands are run, in the sandbox, and nothing of a page's blocks differs."""
    told = outputs.outputs()
    pages = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in outputs.pages()}
    old = [str(path) for path, text in pages.items() if outputs.renewed(text, told) != text]

    assert not old, f"not what the commands print now, run `make docs` and look at what it changes: {', '.join(old)}"
    assert {*told} == {name for text in pages.values() for name in outputs.names(text)}


def test_a_block_is_filled_in_and_all_around_it_is_left() -> None:
    """Only what stands between the fences below the mark is replaced; a name that nobody prints is an error."""
    page = "# Page\n\n<!-- output: greeting -->\n```\nold\n```\n\n```\nanother\n```\n"

    assert page.replace("old", "hello") == outputs.renewed(page, {"greeting": "hello\n"})
    assert ["greeting"] == outputs.names(page)
    with pytest.raises(KeyError):
        outputs.renewed(page, {})
