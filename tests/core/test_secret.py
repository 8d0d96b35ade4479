"""No value that is secret is shown, whatever a text has made of it."""

from __future__ import annotations

import html
import json
import sys
import threading
from urllib.parse import quote, quote_plus

import pytest

from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Record
from pam_scripts.core.secret import Secret, presentable
from pam_scripts.rotation.ops_log import Entry

ODD = [
    'has "quotes" and \\slashes\\',
    "Gr\u00fc\u00dfe aus K\u00f6ln",
    "double  blanks   within",
    "it's <b>bold</b> & more",
    "two\nlines of it",
    "x" * 300,
    "lone \ud800 surrogate",
]


@pytest.mark.parametrize("value", ODD)
def test_a_value_is_found_in_every_form_that_a_text_gives_it(value: str) -> None:
    """JSON, Python's quotes, a URL, HTML, blanks folded: none of them carries it through."""
    Secret(value)
    forms = [
        value,
        json.dumps(value),
        json.dumps(value, ensure_ascii=False),
        repr(value),
        quote(value, errors="replace"),
        quote(value, safe="", errors="replace"),
        quote_plus(value, errors="replace"),
        html.escape(value),
        html.escape(value, quote=False),
        " ".join(value.split()),
    ]
    for form in forms:
        assert Secret.redact_whole(f"<{form}>").replace('"', "").replace("'", "") == "<***>"


@pytest.mark.parametrize("value", ODD)
def test_the_ops_log_and_its_line_of_json_carry_none(value: str) -> None:
    """A reason, an environment, a place or an error that has a value in it: it is taken out before JSON is made."""
    Secret(value)
    entry = Entry(
        reason=f"since {value} leaked", environment=value, stored_in=[value], error=f"told {value}", exit_status=1
    )

    told = json.loads(entry.line())
    assert ("since *** leaked", "***", ["***"], "told ***") == (
        told["reason"],
        told["environment"],
        told["stored_in"],
        told["error"],
    )
    assert "Reason: since *** leaked\n" in entry.text()


def test_an_error_is_redacted_before_anybody_takes_it_apart() -> None:
    """A value with the marks at which messages are parted does not come out in halves."""
    Secret("first; second: third")

    assert BadInput("it is first; second: third here").cause.partition("; ") == ("it is *** here", "", "")


def test_a_short_value_is_hidden_as_a_word() -> None:
    """A PIN goes; words and numbers that it is a part of stay, and so does what machines read again."""
    Secret("sun")
    Secret("1")

    assert "the *** shines on Sunday, 10 to ***" == Secret.redact("the sun shines on Sunday, 10 to 1")
    assert json.loads(Entry(reason="sun", exit_status=1).line())["exit_status"] == 1
    assert json.loads(Entry(reason="sun").line())["reason"] == "***"


def test_values_that_overlap_leave_nothing_of_each_other() -> None:
    """Where one begins within another, both go whole."""
    Secret("abcdefgh")
    Secret("efghijkl")

    assert "-***-" == Secret.redact("-abcdefghijkl-")


@pytest.mark.parametrize(
    "label", ["password", "Client Secret", "access_key_password", "aws_secret_access_key", "value"]
)
@pytest.mark.parametrize("value", ["letmein", "pw", ["none", "letmein"], {"privateKey": "letmein"}, 4711])
def test_what_stands_in_a_secret_field_of_any_record_is_never_shown(label: str, value: object) -> None:
    """Whichever script asks for it, or none: attached, related, several values, objects, numbers."""
    Record.from_flat({"uid": "U", "title": "T", label: value})

    assert "*** was here" == Secret.redact(f"{'letmein' if not isinstance(value, (int, str)) else value} was here")


def test_ids_names_and_placeholders_are_no_secrets() -> None:
    """What only sounds like one is told as it is."""
    Record.from_flat({"client_secret_id": "an-id-of-it", "secret_name": "orders", "password": "<set by rotation>"})

    assert (text := "an-id-of-it orders <set by rotation>") == Secret.redact(text)


def test_nothing_that_a_terminal_obeys_is_shown() -> None:
    """Escape sequences, C1, and what turns the direction of a line; line ends are blanks."""
    assert "a\ufffd[31mb\ufffdc \ufffdd e f" == presentable("a\x1b[31mb\x9bc\r\n\u202ed\te\u2028f")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("record 'x ##vso[task.prependpath]/tmp'", "record 'x # #vso[task.prependpath]/tmp'"),
        ("###[add-path]/tmp", "## #[add-path]/tmp"),
        ("##TeamCity[x]", "# #TeamCity[x]"),
        ("::add-mask::a", ": :add-mask::a"),
        ("a\n::stop-commands::a", "a : :stop-commands::a"),
        ("#\n#vso[x]", "# #vso[x]"),
        ("https://[::1]/a#b ##1 [x] Area::Key ::1", "https://[::1]/a#b ##1 [x] Area::Key ::1"),
    ],
)
def test_nothing_that_the_agent_of_a_build_pipeline_obeys_is_shown(text: str, shown: str) -> None:
    """Agents run what they are told in the output they read: a title could set their variables, or hand out a file."""
    assert shown == presentable(text)


def test_values_may_be_added_while_lines_are_redacted() -> None:
    """Threads that log in and threads that report do not disturb each other."""
    failures: list[BaseException] = []
    pause = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def add(number: int) -> None:
        try:
            for count in range(30):
                Secret(f"value {number} {count}")
                Secret(f"{number}{count}")
                presentable(f"line of {number} with value {number} {count}")
        except BaseException as failure:  # noqa: BLE001 - that there is one is what is looked for
            failures.append(failure)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(pause)
    assert [] == failures
    assert "***" == Secret.redact("value 5 29")
