"""A value put into a text around it: a connection string, an address, a list of settings, a JSON object.

Each form quotes as its readers unquote, and refuses what it has no way to write. Where nobody names the form
it is told by the text, and a text that does not tell it is refused.

https://learn.microsoft.com/dotnet/framework/data/adonet/connection-strings-and-configuration-files
https://learn.microsoft.com/openspecs/sql_server_protocols/ms-odbcstr/55953f0e-2d30-4ad4-8e56-b4207e491409
https://learn.microsoft.com/sql/connect/jdbc/building-the-connection-url
https://www.rfc-editor.org/rfc/rfc3986#section-2.1
https://www.rfc-editor.org/rfc/rfc8259#section-7
https://stackexchange.github.io/StackExchange.Redis/Configuration
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

from pam_scripts.core.errors import BadInput

FORMS: Mapping[str, str] = {
    "sql": "ADO.NET",
    "odbc": "ODBC, or SQL Server's JDBC driver",
    "azure": "Service Bus, Event Hubs, Storage and other keys of Azure, which know no quotes",
    "url": "an address, or its query",
    "list": "StackExchange.Redis",
    "json": "JSON",
    "plain": "who takes it to the letter",
}
"""The forms by their names, and who reads them."""

_PLACEHOLDER = re.compile(r"\{(login|password|value)\}")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')

# Not among FORMS: that of a text which ADO.NET reads as well as ODBC, each with quotes of its own.
_EITHER = "sql or odbc"

# Keys, in small letters and without blanks, by whose values a text tells what it is.
_OF_DATABASES = {"password", "pwd", "user", "userid", "username", "uid"}
# Of these, those that ODBC knows too; and keys that only ADO.NET does.
_OF_BOTH = {"uid", "pwd"}
_OF_ADO_NET = {"datasource", "initialcatalog", "userid", "password", "integratedsecurity"}
_OF_AZURE = {"sharedaccesskey", "sharedaccesssignature", "accountkey", "accesskey", "instrumentationkey"}
# Who reads the rest of a `jdbc:` address is its driver, each in its own way: these are known to.
_JDBC = {"sqlserver": "odbc", "postgresql": "url", "mysql": "url"}

# What stands before and behind a placeholder that is the whole of one value; in what stands before it, other
# placeholders are an `x`.
_QUOTED = r""""(?:[^"]|"")*"|'(?:[^']|'')*'"""
_BRACED = r"\{(?:[^}]|\}\})*\}"
_PLACES: Mapping[str, tuple[str, str]] = {
    "sql": (rf"(?:[^;=]+=\s*(?:(?:{_QUOTED})\s*|[^;\"'\s][^;]*)?;|\s*;)*[^;=]+=\s*", r"\s*(?:;|$)"),
    "odbc": (rf"(?:jdbc:[^;]*;)?(?:[^;=]+=\s*(?:{_BRACED}\s*|[^;{{\s][^;]*)?;|\s*;)*[^;=]+=\s*", r"\s*(?:;|$)"),
    "azure": (r"(?:[^;=]+=[^;]*;)*[^;=]*[^;=\s]=", r"(?:;|$)"),
    "list": (r"(?:.*,)?\s*(?:[^,=]+=)?\s*", r"\s*(?:,|$)"),
}


def fill(template: str, form: str, values: Mapping[str, str]) -> str:
    """Return the template with `{login}`, `{password}` and `{value}` filled in; any other brace stands for itself.

    form: one of FORMS, or empty for what the template looks like. Raises BadInput for a template or
    a value that cannot be written, and never shows the value.
    """
    if not {"password", "value"} & set(_PLACEHOLDER.findall(template)):
        raise _bad("has neither {password} nor {value}", "say with one of them where the value goes")
    return _fill(template, form, "", values)


def _fill(template: str, form: str, otherwise: str, values: Mapping[str, str]) -> str:
    """Fill one text in. otherwise: the form where the text does not tell; empty: it is refused."""
    form, named = form or _form_of(template) or otherwise, form
    if not form:
        raise _unclear()
    if form == "json":
        return _fill_json(template, "plain" if named or otherwise else "", values)

    def write(match: re.Match[str]) -> str:
        value, before, after = values[match[1]], template[: match.start()], template[match.end() :]
        _refuse_control(value, match[1])
        if form == "odbc" and before.endswith("{") and after.startswith("}"):
            # The braces that the value needs are there.
            _check_place(form, match[0], before[:-1], after[1:])
            return _doubled(value, "}")
        _check_place(form, match[0], before, after)
        return _QUOTE[form](value, match[1])

    return _PLACEHOLDER.sub(write, template)


def _fill_json(template: str, otherwise: str, values: Mapping[str, str]) -> str:
    """Fill in each string of a JSON text, which may be a connection string or an address itself."""
    if not _is_json(template):
        raise _bad("is no JSON", "write placeholders in double quotes, within the text")

    def write(literal: re.Match[str]) -> str:
        text = json.loads(literal[0])
        if not _PLACEHOLDER.search(text):
            return literal[0]
        return json.dumps(_fill(text, "", otherwise, values))

    return _JSON_STRING.sub(write, template)


# -- what a text looks like -----------------------------------------------------------------------


def _form_of(template: str) -> str:
    """Return the form that a text tells by its looks, empty where it does not."""
    if template.lstrip()[:1] in ("{", "[") and _is_json(template):
        return "json"
    if driver := re.match(r"jdbc:([a-z0-9]+):", template, re.IGNORECASE):
        return _form_of_jdbc(driver[1].lower(), template)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", template):
        return "url"
    return _form_of_pairs(template)


def _form_of_jdbc(driver: str, template: str) -> str:
    form = _JDBC.get(driver, "")
    path, _, _ = template.partition("?")
    return "" if form == "url" and _PLACEHOLDER.search(path) else form


def _form_of_pairs(template: str) -> str:
    """Return the form of a text that is made of `KEY=VALUE`, or has nothing in it that anybody would unquote."""
    separator = "," if "," in template and ";" not in template else ";"
    found = re.findall(rf"(?:^|{separator})([^={separator}]+)=\s*[\"'{{]?{_PLACEHOLDER.pattern}(?!&)", template)
    keys = {re.sub(r"\s", "", key).lower() for key, _ in found}
    is_braced = re.search(rf"=\s*\{{{_PLACEHOLDER.pattern}\}}", template)
    if keys and (is_braced or re.search(r"(?:^|;)\s*(?:driver|dsn|filedsn)\s*=", template, re.IGNORECASE)):
        return "odbc"
    if keys & _OF_AZURE:
        return "azure"
    if keys & _OF_DATABASES:
        told = re.findall(r"(?:^|;)([^=;]+)=", template)
        only_one = {re.sub(r"\s", "", key).lower() for key in told} & _OF_ADO_NET or keys & _OF_DATABASES - _OF_BOTH
        return "list" if separator == "," else "sql" if only_one else _EITHER
    return "" if re.search(r"[;=,\"'{}<>&\\\n]|:\s", _PLACEHOLDER.sub("x", template)) else "plain"


def _is_json(template: str) -> bool:
    try:
        json.loads(template)
    except (ValueError, RecursionError):
        return False
    return True


# -- where a placeholder stands -------------------------------------------------------------------


def _check_place(form: str, placeholder: str, before: str, after: str) -> None:
    """Raise BadInput for a placeholder that stands where its value would be read as something else."""
    if form == "url":
        _check_address(placeholder, before, after)
    # What may be read as either stands where both have it.
    place = _PLACES.get("sql" if form == _EITHER else form)
    if not place:
        return
    leading, trailing = place
    if not (re.fullmatch(leading, _PLACEHOLDER.sub("x", before), re.DOTALL) and re.match(trailing, after)):
        between = {"list": "between commas, "}.get(form, "")
        raise _bad(
            f"has {placeholder} within a longer value, or in quotes",
            f"for '{form}' write KEY={placeholder}, {between}without quotes; or name another 'value_quoting'",
        )


def _check_address(placeholder: str, before: str, after: str) -> None:
    """Refuse a placeholder in an address's scheme or host: who reads those does not decode them."""
    address = f"{before}\0{after}"
    parts = re.match(r"(?:jdbc:)?([^:/?#]*)://([^/?#]*)", address, re.IGNORECASE)
    if parts and ("\0" in parts[1] or "\0" in parts[2].rpartition("@")[2]):
        raise _bad(
            f"has {placeholder} where an address has its host",
            "write it before an '@', in the path, or behind '?'; or name another 'value_quoting'",
        )


# -- how a value is written -----------------------------------------------------------------------


def _sql(value: str, _name: str) -> str:
    """Quote as ADO.NET reads it: doubled quotes within quotes, the other kind where there is only one."""
    if re.fullmatch(r"[^\s;='\"]+", value):
        return value
    if '"' in value and "'" not in value:
        return f"'{value}'"
    return f'"{_doubled(value, chr(34))}"'


def _odbc(value: str, _name: str) -> str:
    """Put whatever is not a plain word into braces, the closing one doubled within."""
    return value if re.fullmatch(r"[A-Za-z0-9_.+/-]+", value) else f"{{{_doubled(value, '}')}}}"


def _either(value: str, name: str) -> str:
    """Write what both readers of the text take for the same; refuse what only one of them would."""
    if _sql(value, name) != _odbc(value, name):
        raise _unclear()
    return value


def _url(value: str, _name: str) -> str:
    return quote(value, safe="")


def _list(value: str, name: str) -> str:
    return _unquoted(value, name, "makes a list with commas", r",|^\s|\s$", "commas, and spaces at the ends,")


def _azure(value: str, name: str) -> str:
    what = "makes a text of keys between semicolons"
    return _unquoted(value, name, what, r";|^[\s\"']|\s$", "semicolons, a quote in front, and spaces at the ends,")


def _plain(value: str, _name: str) -> str:
    return value


_QUOTE: Mapping[str, Callable[[str, str], str]] = {
    "sql": _sql,
    "odbc": _odbc,
    _EITHER: _either,
    "azure": _azure,
    "url": _url,
    "list": _list,
    "plain": _plain,
}


def _doubled(value: str, mark: str) -> str:
    return value.replace(mark, 2 * mark)


def _unquoted(value: str, name: str, what: str, forbidden: str, shown: str) -> str:
    if re.search(forbidden, value):
        raise _bad(
            f"{what}, which cannot hold this {{{name}}}",
            f"keep {shown} out of the password by Keeper's complexity rules",
        )
    return value


def _refuse_control(value: str, name: str) -> None:
    if not value or not value.isprintable():
        what = "is empty" if not value else "holds a control character"
        raise BadInput(f"the record's {name} {what}, which 'value_template' cannot hold")


def _unclear() -> BadInput:
    choices = ", ".join(f"'{one}' for {reader}" for one, reader in FORMS.items())
    return _bad("does not show how the value is to be quoted", f"say it in 'value_quoting': {choices}")


def _bad(what: str, way_out: str) -> BadInput:
    return BadInput(f"field 'value_template' {what}", next_step=way_out)
