"""A value put into a text around it: a connection string, an address, a list of settings.

Each form quotes as its readers unquote, and refuses what it has no way to write.

https://learn.microsoft.com/dotnet/framework/data/adonet/connection-strings-and-configuration-files
https://www.rfc-editor.org/rfc/rfc3986#section-2.1
https://stackexchange.github.io/StackExchange.Redis/Configuration
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

from pam_scripts.core.errors import BadInput

FORMS = ("sql", "url", "list", "plain")

_PLACEHOLDER = re.compile(r"\{(login|password|value)\}")


def fill(template: str, form: str, values: Mapping[str, str]) -> str:
    """Return the template with `{login}`, `{password}` and `{value}` filled in.

    form: one of FORMS, or empty for what the template looks like. Raises BadInput for a template or
    a value that cannot be written, and never shows the value.
    """
    if not {"password", "value"} & set(_PLACEHOLDER.findall(template)):
        raise _bad("has neither {password} nor {value}", "say with one of them where the value goes")
    form = form or _form_of(template)
    for match in _PLACEHOLDER.finditer(template):
        _check_place(template, match, form)
    return _PLACEHOLDER.sub(lambda match: _QUOTE[form](values[match[1]], match[1]), template)


def _form_of(template: str) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", template):
        return "url"
    if re.search(r";|^[^,]*=\{", template):
        return "sql"
    return "list" if "," in template and "=" in template else "plain"


def _check_place(template: str, match: re.Match[str], form: str) -> None:
    before, after = template[: match.start()], template[match.end() :]
    if form == "sql" and not (re.search(r"(?:^|;)[^;=]+=\s*$", before) and re.match(r"\s*(?:;|$)", after)):
        raise _bad(
            f"has {match[0]} within a longer value", f"in a connection string write KEY={match[0]}; without quotes"
        )
    if form == "list" and not (re.search(r"(?:^|[,=])\s*$", before) and re.match(r"\s*(?:,|$)", after)):
        raise _bad(f"has {match[0]} within a longer value", f"write KEY={match[0]} between commas, without quotes")


def _sql(value: str, name: str) -> str:
    """Quote as ADO.NET reads it: doubled quotes within quotes, the other kind where there is only one."""
    _refuse_control(value, name)
    if re.fullmatch(r"[^\s;='\"]+", value):
        return value
    if '"' in value and "'" not in value:
        return f"'{value}'"
    doubled = value.replace('"', '""')
    return f'"{doubled}"'


def _url(value: str, name: str) -> str:
    _refuse_control(value, name)
    return quote(value, safe="")


def _list(value: str, name: str) -> str:
    _refuse_control(value, name)
    if "," in value or value != value.strip():
        raise _bad(
            f"makes a list with commas, which cannot hold this {{{name}}}",
            "keep commas, and blanks at the ends, out of the password by Keeper's complexity rules",
        )
    return value


def _plain(value: str, name: str) -> str:
    _refuse_control(value, name)
    return value


_QUOTE: Mapping[str, Callable[[str, str], str]] = {"sql": _sql, "url": _url, "list": _list, "plain": _plain}


def _refuse_control(value: str, name: str) -> None:
    if not value or not value.isprintable():
        what = "is empty" if not value else "holds a control character"
        raise BadInput(f"the record's {name} {what}, which 'value_template' cannot hold")


def _bad(what: str, way_out: str) -> BadInput:
    return BadInput(f"field 'value_template' {what}", next_step=way_out)
