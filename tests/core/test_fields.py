"""How a record's fields are found and read."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import requests.adapters
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import (
    FLAG,
    TEXT,
    Choice,
    Field,
    HttpsAddress,
    Names,
    Number,
    PageAddresses,
    Record,
    Text,
    flat_value,
    is_placeholder,
    normalised,
)

APPLICATION_ID = Field("application_id", "the ID of the application", TEXT, required=True)
EXPIRY_DAYS = Field("expiry_days", "life of the key", Number(1, 365), default="90")
DRY_RUN = Field("dry_run", "look only", FLAG, default="False")
NOTE = Field("note", "anything", Text(r"[a-z]+", "letters"))
CLOUD = Field("cloud", "which cloud", Choice(("public", "usgovernment")), default="public")
APPS = Field("apps", "who reads it", Names(r"[a-z]+/[a-z]+", "GROUP/APP"))
SERVER = Field("server", "where it is", HttpsAddress(paths=("", "/api")))


def record(**values: object) -> Record:
    """Return a record with these fields."""
    return Record.from_flat({"uid": "U", "title": "Key", **values})


@pytest.mark.parametrize("label", ["tenant_id", "tenantId", "Tenant Id", "TENANT__ID", " tenant\tid "])
def test_labels_compare_without_case_blanks_and_underscores(label: str) -> None:
    """Whoever types a label need not know how the contract spells it."""
    assert "tenantid" == normalised(label)


@pytest.mark.parametrize("unseen", [*"\u200b\ufeff\u00ad\u2060\u200e\u00a0\u3164\ufe0f\x00"])
def test_characters_that_cannot_be_seen_are_no_part_of_a_label(unseen: str) -> None:
    """What is pasted from a web page brings some along, and nobody would find them."""
    for label in (f"tenant{unseen}_id", f"{unseen}tenant_id", f"Tenant Id{unseen}"):
        assert "tenantid" == normalised(label)
    assert "T" == record(**{f"tenant_id{unseen}": "T"}).get("tenant_id")


def test_all_values_of_a_field_that_takes_several_count() -> None:
    """Entered one by one they are what they are with commas; where one is taken it is the first, as ever."""
    both = record(apps=["group/one", "", "group/two, group/three"], note=["first", "second"])

    assert ("group/one", "group/two", "group/three") == APPS.read(both)
    assert "first" == NOTE.read(both)
    assert ("group/one",) == APPS.read(record(apps=["group/one", None, "<leave this for none>"]))


@pytest.mark.parametrize("label", ["tenant-id", "tenantid2", "the tenant id"])
def test_other_labels_stay_other_labels(label: str) -> None:
    """A label that merely resembles another is not taken for it."""
    assert normalised("tenant_id") != normalised(label)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ("", ""),
        (None, ""),
        ([], ""),
        (["", None, "second"], "second"),
        (["first", "second"], "first"),
        (["<set by rotation>", "second"], ""),
        ("<set by rotation>", ""),
        ("  <set by rotation>\n", ""),
        ("<q7Xp0sR>", "<q7Xp0sR>"),
        ("a <b c> d", "a <b c> d"),
        (" kept as it is ", " kept as it is "),
        (7, "7"),
        (True, "True"),
        ({"hostName": "x"}, ""),
        ([{"region": "DE"}], ""),
    ],
)
def test_a_fields_value_becomes_text(value: object, expected: str) -> None:
    """The first of several counts; nothing, structures and a template's placeholder are empty."""
    assert expected == flat_value(value)


def test_a_password_in_angle_brackets_is_no_placeholder() -> None:
    """Placeholders are words with blanks between them."""
    assert is_placeholder("<set by rotation>")
    assert not is_placeholder("<Zx8-k2q_T>")
    assert not is_placeholder("<open by mistake")


def test_of_labels_that_compare_equal_the_first_counts() -> None:
    """A second spelling of a label does not change what the first one says."""
    record = Record.from_flat({"uid": "U", "title": "T", "Key Id": "first", "key_id": "second"})

    assert "first" == record.get("keyId")


@pytest.mark.parametrize("other", ["Dry Run", "dry_run2", "DRY RUN 3"])
@pytest.mark.parametrize("value", ["False", "", "<'True' or 'False'; leave this>"])
def test_an_input_that_contradicts_itself_is_refused_with_both_spellings(other: str, value: str) -> None:
    """A person who entered 'True' must not see a rotation; which of the two counts is not to be guessed."""
    twice = Record.from_flat({"uid": "U", "title": "Key", "dry_run": value, other: "True"})

    for read in (DRY_RUN.read, lambda record: DRY_RUN.first([record])):
        with pytest.raises(
            BadInput,
            match=f"field 'dry_run' is in the record more than once with different values, as 'dry_run' and '{other}'",
        ):
            read(twice)


def test_an_input_that_stands_twice_and_says_the_same_is_read() -> None:
    """Nothing has to be guessed there; nor is a label with a number of its own a second one of another."""
    assert DRY_RUN.read(record(dry_run="True", **{"Dry Run": " True ", "dry_run2": "True"}))
    assert NOTE.read(record(**{"note2": "x", "2": "y", "note": "abc"})) == "abc"


def test_the_first_label_with_a_value_is_read() -> None:
    """Several labels may be asked for; empty and missing ones are passed over."""
    record = Record.from_flat({"uid": "U", "title": "T", "seeq_server_url": "", "url": " https://x "})

    assert "https://x" == record.get("seeq_server_url", "url")
    assert "" == record.get("missing")
    assert not record.has("url", "missing")
    assert record.has("URL")


def test_a_secret_is_read_to_the_letter() -> None:
    """Blanks around a password belong to it."""
    record = Record.from_flat({"uid": "U", "title": "T", "password": " pass word "})

    assert " pass word " == record.secret("password").reveal()


def test_a_record_shows_no_values() -> None:
    """Its repr, and its name in messages, have uid and title only."""
    record = Record.from_flat({"uid": "U", "title": "T", "password": "hush-hush"})

    assert "hush-hush" not in repr(record)
    assert "record 'T' (U)" == record.shown


@pytest.mark.parametrize("flat", [{}, {"uid": None, "title": None}, {"uid": 5, "title": ["x"]}, {"UID": "u"}])
def test_a_record_may_lack_uid_and_title(flat: dict[str, Any]) -> None:
    """Strange records in a payload are read without an error, and match no UID by accident."""
    record = Record.from_flat(flat)

    assert "U" != record.uid
    assert isinstance(record.title, str)


def test_an_empty_input_means_its_default() -> None:
    """Missing, empty and placeholder are one."""
    for value in ({}, {"expiry_days": ""}, {"expiry_days": "<days it lives>"}):
        assert 90 == EXPIRY_DAYS.read(record(**value))
    assert "" == NOTE.read(record())


@pytest.mark.parametrize("value", ["True", "true", "YES", "on", "1"])
def test_words_for_yes(value: str) -> None:
    """What people write for true is true."""
    assert DRY_RUN.read(record(dry_run=value))


@pytest.mark.parametrize("value", ["False", "no", "OFF", "0", ""])
def test_words_for_no(value: str) -> None:
    """What people write for false is false, and so is the default."""
    assert not DRY_RUN.read(record(dry_run=value))


@pytest.mark.parametrize(("value", "number"), [("1", 1), ("365", 365), (" 42 ", 42), ("007", 7), (30, 30)])
def test_numbers_within_their_bounds(value: object, number: int) -> None:
    """Both bounds belong to what is allowed; a number may come as a number."""
    assert number == EXPIRY_DAYS.read(record(expiry_days=value))


@pytest.mark.parametrize("value", ["0", "366", "-1", "1.0", "1e1", "one", "9" * 400])
def test_numbers_out_of_bounds_name_field_record_and_bounds(value: str) -> None:
    """The error says which record, which field, what stood there where that is short, and what may."""
    with pytest.raises(BadInput) as caught:
        EXPIRY_DAYS.read(record(expiry_days=value))

    message = str(caught.value)
    shown = f"is {value!r}" if len(value) < 20 else "has a value that is not shown"
    assert message.startswith(f"record 'Key' (U): field 'expiry_days' {shown}; ")
    assert message.endswith("it must be a whole number from 1 to 365")
    assert len(message) < 200


def test_a_required_field_says_what_to_enter() -> None:
    """An empty required field is named with its meaning."""
    with pytest.raises(BadInput, match="field 'application_id' is empty; enter the ID of the application"):
        APPLICATION_ID.read(record())


def test_a_pattern_is_asked_of_the_whole_value() -> None:
    """A good beginning is not enough, nor is a line of several."""
    for value in ("abc def", "abc\nrm"):
        with pytest.raises(BadInput, match="it must be letters"):
            NOTE.read(record(note=value))
    assert "abc" == NOTE.read(record(note="abc"))


@pytest.mark.parametrize("value", ["usgovernment", "US Government", " us_government "])
def test_a_choice_is_read_as_it_is_written_in_the_contract(value: str) -> None:
    """Case, blanks and underscores make no difference."""
    assert "usgovernment" == CLOUD.read(record(cloud=value))


def test_an_unknown_word_is_refused_with_those_that_are_known() -> None:
    """Whoever reads the line can choose."""
    with pytest.raises(BadInput, match="'cloud' is 'moon'; it must be 'public' or 'usgovernment'"):
        CLOUD.read(record(cloud="moon"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", ()), ("a/b", ("a/b",)), ("a/b, c/d ,", ("a/b", "c/d")), ("a/b\nc/d", ("a/b", "c/d")), ("a/b,a/b", ("a/b",))],
)
def test_several_names_are_read_in_their_order(value: str, expected: tuple[str, ...]) -> None:
    """Commas and line ends part them; blanks and repetitions do not count."""
    assert expected == APPS.read(record(apps=value))


def test_of_what_could_be_anything_nothing_is_shown() -> None:
    """What stands in the wrong place may be a password; only words are shown, of fields that take some."""
    for field, label in ((APPS, "apps"), (SERVER, "server"), (EXPIRY_DAYS, "expiry_days"), (CLOUD, "cloud")):
        with pytest.raises(BadInput, match=f"field '{label}' has a value that is not shown; it must be") as caught:
            field.read(record(**{label: "hunter2 'hunter2'"}))
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ""),
        ("https://Seeq.Example.com", "https://seeq.example.com"),
        ("https://seeq.example.com:8443/", "https://seeq.example.com:8443"),
        ("https://seeq.example.com/api/", "https://seeq.example.com"),
    ],
)
def test_an_address_is_read_without_its_path(value: str, expected: str) -> None:
    """Scheme, host and port are what counts."""
    assert expected == SERVER.read(record(server=value))


@pytest.mark.parametrize(
    "value",
    [
        "seeq.example.com",
        "http://seeq.example.com",
        "https://",
        "https://user:pass@seeq.example.com",
        "https://:pass@seeq.example.com",
        "https://@seeq.example.com",
        "https://seeq.example.com/login",
        "https://seeq.example.com?x=1",
        "https://seeq.example.com:none",
        "https://seeq.example.com:",
        "https://seeq.example.com:0",
        "https://seeq.example.com:65536",
        "https://seeq.example.com:0443",
        "https://seeq example com",
        "https://seeq..example.com",
        "https://-.example.com",
        "https://" + "x" * 64 + ".example.com",
        "https://*.example.com",
        "https://pr\u00fcfung.example.com",
        "https://seeq.example.com\\@evil.example.com",
        "https://[::1",
        "https://[::1]x:443",
        "https://[seeq.example.com]",
        "https://[fe80::1%eth0]",
    ],
)
def test_what_is_no_address_of_a_server_is_refused_without_its_password(value: str) -> None:
    """Plain http, user names, paths and queries are not taken."""
    with pytest.raises(BadInput, match="it must be https://HOST, without user name and path") as caught:
        SERVER.read(record(server=value))

    assert "pass" not in str(caught.value).partition("it must")[0]


def _assert_can_be_asked(address: str) -> None:
    """Go as far as a connection would, and have nobody resolve the name."""
    try:
        request = requests.Request("GET", address).prepare()
        requests.adapters.HTTPAdapter().get_connection_with_tls_context(request, verify=True)
        assert (urlsplit(str(request.url)).hostname or "").encode("idna")
    except ValueError as error:
        pytest.fail(f"{address!r}: {error}")


@given(st.text("ab0:.-_[]%@\\ *\u00fc\x00", max_size=70))
@example("a" * 63)
@example("a" * 64)
@example("[::1]:443")
@example("a..b")
@settings(deadline=None)
def test_whoever_has_an_address_can_be_asked(place: str) -> None:
    """Nothing is taken that ends in an error of whatever connects, which would be no answer of a server."""
    for parser, whole in ((HttpsAddress(), f"https://{place}"), (PageAddresses(), f"http://{place}/health")):
        with suppress(ValueError):
            parser.read(whole)
            _assert_can_be_asked(whole)


def test_the_first_record_that_has_a_field_decides() -> None:
    """Empty ones are passed over; where none has it there is no value."""
    assert "usgovernment" == CLOUD.first([record(), record(cloud="usgovernment"), record(cloud="public")])
    assert CLOUD.first([record(), record(cloud="")]) is None


def test_a_value_that_stands_in_for_a_field_is_all_that_the_record_has_there() -> None:
    """Whatever the field held, however often and however its label is spelt."""
    record = Record.from_flat({"uid": "U", "Keep Previous Keys": "3", "keep_previous_keys": "4", "other": "x"})
    assert record.contradictions
    changed = record.having("keep_previous_keys", "0")

    assert ("0", "0", "x") == (changed.get("keep_previous_keys"), changed.get("keepPreviousKeys"), changed.get("other"))
    assert {} == changed.contradictions
