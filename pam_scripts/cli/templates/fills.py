"""What is entered into records: from a CSV, or from Seeq's own list of applications.

A fill is, for one PAM User record, what to enter: a field's label, `title` or `login`, to its value.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from pam_scripts import rotate_seeq_application_key
from pam_scripts.assembly.script import Script
from pam_scripts.cli.common import progress
from pam_scripts.cli.shared import Shared
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Record, normalised
from pam_scripts.core.http import Session
from pam_scripts.gateway.payload import Job
from pam_scripts.issuers.seeq.server import SERVER_URL, Server, find_admin
from pam_scripts.issuers.seeq.survey import applications

Fill: TypeAlias = Mapping[str, str]

OWN_COLUMNS = ("title", "login")
_HEADER_AND_ONE = 2


def from_seeq(shared: Shared, admin: str, common: Fill, deadline: Deadline) -> list[dict[str, str]]:
    """Return what to enter for each application that Seeq lists and no shared record rotates yet.

    admin: UID of the Seeq admin's record. common: what is entered into all of them.
    """
    asked = Record.from_flat({SERVER_URL.label: common.get(SERVER_URL.label, "")})
    found = find_admin(Job(asked, None, [shared.flat(admin)]))
    with progress() as say:
        session = Session(deadline)
        if found.ca_bundle:
            session.trust(found.endpoint.host, found.ca_bundle)
        server = Server(found.endpoint, session, say)
        listed = applications(server, say)
    known = [
        shared.flat(uid).get("application_id")
        for uid, script in shared.ours()
        if script.stem == rotate_seeq_application_key.SCRIPT.stem
    ]
    return list(_from_applications(listed, known, common))


def read_fills(path: Path, script: Script) -> list[dict[str, str]]:
    """Read a CSV whose header names fields, `title` or `login`; each further line is a record.

    As Excel writes it, too: with a byte order mark or in UTF-16, with semicolons or tabs, with blank rows and columns,
    and with headers that are spelt as labels may be. Empty cells leave what the template has. Raises BadInput where
    the file cannot be read so.
    """
    try:
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig")
        separator = _separator(text)
        if separator_line := re.match(r"sep=(.)\r?\n", text):
            separator, text = separator_line[1], text[separator_line.end() :]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(
            f"{path} cannot be read as CSV ({type(error).__name__})", next_step="save it as 'CSV UTF-8'"
        ) from None
    rows = [(number, row) for number, row in rows if any(row)]
    if len(rows) < _HEADER_AND_ONE:
        raise BadInput(f"{path} has no line below its header")
    header = [canonical_label(label, script) for label in rows[0][1]]
    if twice := sorted({label for label in header if label and header.count(label) > 1}):
        raise BadInput(f"{path}: its header names {', '.join(twice)} more than once")
    for number, row in rows[1:]:
        if len(row) != len(header) or any(cell and not label for label, cell in zip(header, row, strict=True)):
            raise BadInput(f"{path}, line {number}: it has more or fewer cells than the header")
    return [{label: cell for label, cell in zip(header, row, strict=True) if cell} for _, row in rows[1:]]


def canonical_label(label: str, script: Script) -> str:
    """Return the label of the script's field, or the word of our own, that somebody means; as it is for none."""
    labels = (*OWN_COLUMNS, *(one.label for one in script.inputs))
    return next((one for one in labels if normalised(one) == normalised(label)), label)


def _separator(text: str) -> str:
    """Return what stands between the cells of a header: a comma, but where there are more semicolons or tabs."""
    header = text.lstrip().partition("\n")[0]
    return max(",;\t", key=header.count)


def _from_applications(
    listed: Iterable[Mapping[str, object]], known: Iterable[str], common: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Yield what to fill in for each application that Seeq lists and no record rotates yet.

    known: ids of applications that have a record. Those that log in through an identity provider have no
    keys and are left out.
    """
    taken = {one.upper() for one in known}
    for item in listed:
        application_id, name = str(item.get("id")), str(item.get("name") or item.get("id"))
        if application_id.upper() not in taken and not item.get("oidcDirectoryId") and not item.get("isArchived"):
            title = title_of(rotate_seeq_application_key.SCRIPT, name)
            yield {**common, "title": title, "login": name, "application_id": application_id}


def title_of(script: Script, name: str) -> str:
    """Return the title of a target's record; without a colon, which a sync of Keeper's to other vaults refuses."""
    return " ".join(f"{script.record_title} {name}".replace(":", " ").split())
