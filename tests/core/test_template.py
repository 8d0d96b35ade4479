"""A value in a text around it: what is written is what its readers read."""

from __future__ import annotations

import string
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_scripts.core.errors import BadInput
from pam_scripts.core.template import fill

PRINTABLE = st.text(st.sampled_from(string.ascii_letters + string.digits + " ;='\"{}()@:/?#%&+,\\$!~äß€"), min_size=1)


def read_connection_string(text: str) -> dict[str, str]:
    """Read KEY=VALUE pairs as ADO.NET does: quotes of either kind around a value, doubled within it."""
    found, rest = {}, text
    while rest.strip(" ;"):
        name, _, rest = rest.lstrip(" ;").partition("=")
        rest = rest.lstrip()
        if rest[:1] in {"'", '"'}:
            mark, value, at = rest[0], "", 1
            while True:
                if rest[at] != mark:
                    value, at = value + rest[at], at + 1
                elif rest[at + 1 : at + 2] == mark:
                    value, at = value + mark, at + 2
                else:
                    break
            found[name.strip()], rest = value, rest[at + 1 :]
        else:
            value, _, rest = rest.partition(";")
            found[name.strip()] = value.strip()
    return found


@given(login=PRINTABLE, password=PRINTABLE)
def test_a_connection_string_reads_back_whatever_the_password_is(login: str, password: str) -> None:
    """Semicolons, quotes of both kinds, blanks, equals signs: the reader gets login and password to the letter."""
    template = "Server=sql.example.com;User Id={login};Password={password};Encrypt=True"

    read = read_connection_string(fill(template, "", {"login": login, "password": password}))
    assert {"Server": "sql.example.com", "User Id": login, "Password": password, "Encrypt": "True"} == read


@given(login=PRINTABLE, password=PRINTABLE)
def test_an_address_reads_back_whatever_the_password_is(login: str, password: str) -> None:
    """Every character that means something in an address is percent-encoded."""
    read = urlsplit(
        fill("amqps://{login}:{password}@mq.example.com:5671/erp", "", {"login": login, "password": password})
    )

    assert (login, password) == (unquote(read.username or ""), unquote(read.password or ""))
    assert ("mq.example.com", 5671) == (read.hostname, read.port)


@pytest.mark.parametrize("password", ["one,two", " blank in front", "blank behind "])
def test_a_list_refuses_what_it_has_no_way_to_write(password: str) -> None:
    """A list of settings between commas knows no quotes."""
    with pytest.raises(BadInput, match="keep commas") as caught:
        fill("cache:6380,password={password},ssl=True", "", {"password": password})
    assert password not in str(caught.value)


@pytest.mark.parametrize("form", ["sql", "url", "list", "plain"])
@pytest.mark.parametrize("password", ["", "line\nbreak", "nul\0"])
def test_no_form_takes_an_empty_value_or_control_characters(form: str, password: str) -> None:
    """They would end a line, a value, or a reader's patience."""
    with pytest.raises(BadInput, match=r"is empty|control character"):
        fill("KEY={password}", form, {"password": password})


@pytest.mark.parametrize(
    "template",
    [
        "Server=s;Password='{password}';",
        "Server=s;Password=pre{password};",
        "Server=s;{password}=x;",
        "Server=s;Password={password}post",
    ],
)
def test_a_connection_strings_value_is_the_placeholder_alone(template: str) -> None:
    """Quotes are ours to set: a template that has its own would be quoted twice."""
    with pytest.raises(BadInput, match="within a longer value"):
        fill(template, "", {"password": "x"})


@pytest.mark.parametrize("template", ["", "no placeholder", "User Id={login};", "{user}", "{ password }"])
def test_a_template_without_the_value_is_refused(template: str) -> None:
    """What would be stored would not have the secret in it."""
    with pytest.raises(BadInput, match=r"neither \{password\} nor \{value\}"):
        fill(template, "", {"login": "me", "password": "x"})


def test_text_that_merely_looks_like_a_placeholder_stays() -> None:
    """Braces with other words in them belong to the format."""
    assert '{"key": {"a": 1}, "v": "x"}' == fill('{"key": {"a": 1}, "v": "{value}"}', "plain", {"value": "x"})
