"""The Gateway's payload, read; and the lines that a run prints."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from pam_scripts.core.errors import BadInput, PamScriptError
from pam_scripts.core.fields import Record
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.console import Console
from pam_scripts.gateway.payload import job_from, read_job

RECORDS = [
    {"uid": "CONFIG", "title": "Azure", "tenantId": "t"},
    {"uid": "MACHINE", "title": "Host", "hostname": "h"},
    {"uid": "USER", "title": "Key", "login": "svc", "Application ID": ["A-1", "A-2"], "empty": ""},
    {"uid": "ADMIN", "title": "Admin", "login": "root", "password": "pw"},
]
WHOLE = {
    "providerRecordUid": "CONFIG",
    "resourceRecordUid": "MACHINE",
    "userRecordUid": "USER",
    "newPassword": "a new password",
    "oldPassword": None,
    "user": "svc",
}


def encoded(value: object) -> bytes:
    """Write a value as Base64 of its JSON."""
    return base64.b64encode(json.dumps(value).encode())


def payload(records: object = RECORDS, **changes: object) -> bytes:
    """Write a payload; a change to Ellipsis leaves the field out."""
    listed = ... if records is ... else encoded(records).decode()
    whole: dict[str, Any] = {**WHOLE, "records": listed, **changes}
    return encoded({name: value for name, value in whole.items() if value is not ...})


def test_a_payload_becomes_a_job() -> None:
    """The record to rotate, the configuration, and all that came with them, told apart by their UIDs."""
    job = read_job(payload())

    assert ("USER", "Key") == (job.user.uid, job.user.title)
    assert "A-1" == job.user.get("application_id")
    assert job.configuration is not None
    assert "t" == job.configuration.get("Tenant Id")
    assert ["ADMIN"] == [record.uid for record in job.attached], "the related resource is for another purpose"


def wrapped(data: bytes) -> bytes:
    """Break the line as a console of eighty columns does."""
    return b"\r\n".join(data[n : n + 80] for n in range(0, len(data), 80))


def wide(data: bytes, zeros_first: int = 0) -> bytes:
    """Put a zero after each byte, or before it."""
    return b"".join(b"\x00" * zeros_first + bytes([byte]) + b"\x00" * (1 - zeros_first) for byte in data)


@pytest.mark.parametrize(
    "pipe",
    [
        pytest.param(lambda data: data + b"\n", id="line-feed"),
        pytest.param(lambda data: data + b"\r\n", id="crlf"),
        pytest.param(lambda data: b"\xef\xbb\xbf" + data + b"\r\n", id="byte-order-mark"),
        pytest.param(lambda data: data + b"   \t\r\n\r\n", id="trailing-blanks"),
        pytest.param(lambda data: b"\n  " + data, id="leading-blanks"),
        pytest.param(wrapped, id="wrapped"),
        pytest.param(lambda data: data.decode().encode("utf-16"), id="utf-16"),
        pytest.param(lambda data: data.decode().encode("utf-16-le"), id="utf-16-without-mark"),
        # What `"BASE64" | .\\script` writes: the text in `$OutputEncoding`, then the line end of the system. That is
        # ASCII in Windows PowerShell 5.1, UTF-8 without a mark in PowerShell 7. Windows PowerShell puts a mark before
        # it with `[Text.Encoding]::UTF8`, or in a console of code page 65001.
        # https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_preference_variables
        # https://github.com/microsoft/dotnet-framework-docker/issues/780
        pytest.param(lambda data: data + b"\x0d\x0a", id="powershell-5"),
        pytest.param(lambda data: b"\xef\xbb\xbf" + data + b"\x0d\x0a", id="powershell-5-utf-8"),
        pytest.param(lambda data: b"\xff\xfe" + wide(data) + b"\x0d\x00\x0a\x00", id="powershell-5-unicode"),
        pytest.param(lambda data: b"\xfe\xff" + wide(data, 1) + b"\x00\x0d\x00\x0a", id="powershell-5-big-endian"),
        pytest.param(lambda data: data + b"\x0a", id="powershell-7-on-linux"),
        pytest.param(lambda data: b"\xff\xfe\x00\x00" + data.decode().encode("utf-32-le"), id="powershell-utf-32"),
    ],
)
def test_what_a_pipe_adds_is_of_no_account(pipe: Callable[[bytes], bytes]) -> None:
    """PowerShell's marks, encodings and line ends around the payload change nothing."""
    assert "USER" == read_job(pipe(payload())).user.uid


def test_byte_order_marks_within_are_of_no_account() -> None:
    """The JSON may begin with a mark of its own."""
    inner = base64.b64encode(b"\xef\xbb\xbf" + json.dumps(RECORDS).encode()).decode()
    whole = base64.b64encode(b"\xef\xbb\xbf" + json.dumps({**WHOLE, "records": inner}).encode())

    assert "USER" == read_job(whole).user.uid


@pytest.mark.parametrize("value", [..., "", None, 7])
def test_a_job_needs_no_resource(value: object) -> None:
    """A missing, empty or strange `resourceRecordUid` is of no account."""
    assert "USER" == read_job(payload(resourceRecordUid=value)).user.uid


@pytest.mark.parametrize("value", [..., "", None, "ANOTHER"])
def test_a_job_needs_no_configuration(value: object) -> None:
    """Without one that is among the records there is none, and its record counts as any other."""
    job = read_job(payload(providerRecordUid=value))

    assert job.configuration is None
    assert "CONFIG" in [record.uid for record in job.attached]


@pytest.mark.parametrize("value", [..., "", None, 7, ["x"]])
def test_the_gateways_passwords_may_be_missing(value: object) -> None:
    """Where only scripts run, `newPassword` is null; nothing here depends on it."""
    assert "USER" == read_job(payload(newPassword=value, oldPassword=value)).user.uid


def test_the_gateways_passwords_are_never_shown() -> None:
    """Though nothing uses them, they are known as secrets from the first moment."""
    read_job(payload(newPassword="zebra-zebra-zebra", oldPassword="okapi-okapi-okapi"))

    assert "*** and ***" == Secret.redact("zebra-zebra-zebra and okapi-okapi-okapi")


def test_the_user_record_is_never_an_admin_record() -> None:
    """A PAM User record that is also attached to its own script counts once, as what it is."""
    job = read_job(payload([*RECORDS, RECORDS[2], RECORDS[0]]))

    assert ["ADMIN"] == [record.uid for record in job.attached], "the related resource is for another purpose"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "standard input is empty"),
        (b"\x00\x00", "standard input is empty"),
        (b"%%%", "standard input is not Base64"),
        (b"QQ", "standard input is not Base64"),
        (base64.b64encode(b"{"), "standard input is not JSON in Base64"),
        (encoded([1]), "the payload is not a JSON object"),
        (payload(records=...), "'records'"),
        (payload(records={}), "'records' is not a list"),
        (payload([None]), "'records' is not a list of records"),
        (payload(userRecordUid=...), "'userRecordUid' is missing"),
        (payload(userRecordUid="NOBODY"), "lacks the PAM User record NOBODY"),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(data: bytes, message: str) -> None:
    """Each error names the part, and says how to run the script."""
    with pytest.raises(BadInput) as caught:
        read_job(data)

    assert message in str(caught.value)
    assert "--check --record UID" in str(caught.value)


def test_a_records_own_words_are_not_in_the_errors() -> None:
    """A payload that cannot be read may hold anything, so none of it is repeated."""
    data = base64.b64encode(b'{"records": "hush-hush-hush')

    with pytest.raises(BadInput) as caught:
        read_job(data)
    assert "hush" not in str(caught.value)
    assert data.decode() not in str(caught.value)


def test_records_are_told_apart_by_uid_alone() -> None:
    """Titles may be the same; an empty configuration UID matches no record with an empty UID."""
    records = [Record("", "same", {}), Record("U", "same", {})]

    job = job_from(records, user_uid="U", configuration_uid="")

    assert ("U", None, [""]) == (job.user.uid, job.configuration, [record.uid for record in job.attached])


# -- the console----------------------------------------------------------------------------------


def test_each_message_is_one_line_on_its_stream(capsys: pytest.CaptureFixture[str]) -> None:
    """Steps go to stdout, warnings and the failure to stderr, line breaks within become blanks."""
    console = Console()
    console.say("first\nsecond")
    console.warn("careful")
    console.fail(PamScriptError("broken", state="as before", next_step="mend it"))

    out, err = capsys.readouterr()
    assert "first second\n" == out
    assert "warning: careful\nerror: broken; as before; mend it\n" == err


def test_no_value_that_was_ever_a_secret_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The last net under every message: values are starred out, also where one is part of another."""
    Secret("gnu-gnu-gnu")
    Secret("gnu-gnu-gnu-and-more")

    Console().say("holds gnu-gnu-gnu-and-more and gnu-gnu-gnu")

    assert "holds *** and ***\n" == capsys.readouterr().out
