"""The connection strings of the page on databases, published as a record with each would have it, and read back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from mssql_python.connection_string_parser import _ConnectionStringParser as OdbcParser

from sandbox.plant import VAULT, on_loopback
from sandbox.publishing import SECRET, PublishPlant
from tests.conftest import ROOT
from tests.core.test_template import read_connection_string
from tests.support.in_process import InProcess

PAGE = (ROOT / "docs/databases.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^\| (SQL Server|PostgreSQL|MySQL) \| ([^|]+) \| `([^`]+)` \|$", PAGE, re.MULTILINE)
LOGIN = "erp_user"
# Every mark that means something to one of the readers.
PASSWORD = "a;b=\"c'd}e{f@g:h/i?j&k#l%41+m n,o\\p"


@pytest.fixture(scope="module")
def plant() -> Iterator[PublishPlant]:
    """Return a plant whose record is given one template after the other."""
    with on_loopback(PublishPlant) as made:
        yield made


def _of_odbc(text: str) -> tuple[str, str]:
    read = OdbcParser()._parse(text)  # noqa: SLF001 - no public name reads one
    return read["uid"], read["pwd"]


def _of_ado_net(text: str) -> tuple[str, str]:
    read = {key.lower(): value for key, value in read_connection_string(text).items()}
    return next(read[key] for key in ("user id", "username") if key in read), read["password"]


def _of_address(text: str) -> tuple[str, str]:
    address = urlsplit(text)
    return unquote(address.username or ""), unquote(address.password or "")


def _of_jdbc(text: str) -> tuple[str, str]:
    query = parse_qs(urlsplit(text.removeprefix("jdbc:")).query)
    return query["user"][0], query["password"][0]


READERS: Mapping[str, Callable[[str], tuple[str, str]]] = {
    "ODBC": _of_odbc,
    ".NET (SqlClient)": _of_ado_net,
    ".NET (Npgsql)": _of_ado_net,
    ".NET (MySqlConnector)": _of_ado_net,
    "libpq, psycopg": _of_address,
    "SQLAlchemy": _of_address,
    "JDBC": _of_jdbc,
}


def test_the_page_has_an_example_for_each_database() -> None:
    """So that the test below goes through what the page shows."""
    assert {"SQL Server", "PostgreSQL", "MySQL"} == {database for database, _, _ in EXAMPLES}
    assert len(EXAMPLES) == PAGE.count("{password}")


@pytest.mark.parametrize(("database", "reader", "text"), EXAMPLES, ids=lambda text: text.partition("=")[0][:24])
def test_a_connection_string_gives_both_halves_back(plant: PublishPlant, database: str, reader: str, text: str) -> None:
    """After a rotation the secret in the vault holds login and password to the letter, as its reader takes it apart."""
    plant.set_field("value_template", text)
    plant.new_password = PASSWORD
    result = InProcess("publish_secret").run(plant)
    held = plant.key_vault.value(VAULT, SECRET)

    assert 0 == result.returncode, (database, result.stderr)
    assert held
    assert (LOGIN, PASSWORD) == READERS[reader](held)
