"""A value in a text around it: what is written is what its readers read.

The readers are those of others, wherever one is to be had in Python; ADO.NET's rules are a table.
"""

from __future__ import annotations

import json
import string
from urllib.parse import parse_qs, unquote, urlsplit

import pika  # type: ignore[import-untyped]  # it has no types
import pytest
from azure.core.utils import parse_connection_string
from azure.servicebus import parse_connection_string as parse_service_bus
from hypothesis import given
from hypothesis import strategies as st
from mssql_python.connection_string_parser import _ConnectionStringParser as OdbcParser
from redis.connection import parse_url

from pam_scripts.core.errors import BadInput
from pam_scripts.core.template import FORMS, fill

PRINTABLE = st.text(st.sampled_from(string.ascii_letters + string.digits + " ;='\"{}()@:/?#%&+,\\$!~äß€"), min_size=1)
# What keys of Azure are made of, and more: they are not quoted.
KEYS = st.text(st.sampled_from(string.ascii_letters + string.digits + "+/=-_{}\"'&%"), min_size=1)
KEYS = KEYS.filter(lambda key: key[0] not in "\"'")


def filled(template: str, password: str, login: str = "me", form: str = "") -> str:
    """Fill a template in as a record does, which has a login and a password."""
    return fill(template, form, {"login": login, "password": password, "value": password})


# -- ADO.NET --------------------------------------------------------------------------------------


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

    read = read_connection_string(filled(template, password, login))
    assert {"Server": "sql.example.com", "User Id": login, "Password": password, "Encrypt": "True"} == read


@pytest.mark.parametrize(
    ("password", "written"),
    [
        ("plain", "plain"),
        ("a{b}c", "a{b}c"),
        ("a;b", '"a;b"'),
        ("a=b", '"a=b"'),
        (" ab ", '" ab "'),
        ("it's", '"it\'s"'),
        ('a"b', "'a\"b'"),
        ('it\'s "so"', '"it\'s ""so"""'),
    ],
)
def test_ado_net_has_these_quotes(password: str, written: str) -> None:
    """The rules of Microsoft's page: quotes for what means something, single ones where double ones are within."""
    assert f"Password={written};" == filled("Password={password};", password)


# -- ODBC -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    [
        "Driver={{ODBC Driver 18 for SQL Server}};Server=s;UID={login};PWD={password};Encrypt=yes",
        "Driver={{ODBC Driver 18 for SQL Server}};Server=s;UID={{login}};PWD={{password}};Encrypt=yes",
        "DSN=erp;Server=s;Uid={login};Pwd={password};Encrypt=yes",
        "Server=s;UID={{login}};PWD={{password}};Encrypt=yes",
    ],
)
@given(login=PRINTABLE, password=PRINTABLE)
def test_odbc_reads_back_whatever_the_password_is(template: str, login: str, password: str) -> None:
    """Braces around a value, the closing one doubled; those that the template has are not set again."""
    template = template.replace("{{ODBC", "{ODBC").replace("Server}}", "Server}")

    read = OdbcParser()._parse(filled(template, password, login))  # noqa: SLF001 - no public name reads one
    assert (login, password, "s", "yes") == tuple(read[key] for key in ("uid", "pwd", "server", "encrypt"))


@pytest.mark.parametrize(
    ("password", "written"), [("plain", "plain"), ('pass";{}word', '{pass";{}}word}'), ("a b", "{a b}")]
)
def test_the_jdbc_driver_of_sql_server_takes_braces(password: str, written: str) -> None:
    """As its page has it, with this example."""
    template = "jdbc:sqlserver://sql.example.com:1433;databaseName=erp;user={login};password={password};encrypt=true"

    assert template.replace("{login}", "me").replace("{password}", written) == filled(template, password)


# -- Azure's keys ---------------------------------------------------------------------------------


@given(key=KEYS)
def test_the_keys_of_azure_read_back_without_quotes(key: str) -> None:
    """Service Bus and Event Hubs, IoT Hub: their readers would take quotes for a part of the key."""
    bus = "Endpoint=sb://erp.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey={password};EntityPath=q"
    hub = "HostName=plant.azure-devices.net;DeviceId=press;SharedAccessKey={password}"

    assert key == parse_service_bus(filled(bus, key)).shared_access_key
    assert key == parse_connection_string(filled(hub, key))["sharedaccesskey"]


@pytest.mark.parametrize("key", ["c2VjcmV0+/w==", "a{b}=c\"d'", "{login}"])
def test_a_storage_key_reads_back_without_quotes(key: str) -> None:
    """With the client itself, which is too slow to be made a hundred times."""
    from azure.storage.blob import BlobServiceClient  # noqa: PLC0415 - takes a second: not where all tests are collected

    account = "DefaultEndpointsProtocol=https;AccountName=plant;AccountKey={password};EndpointSuffix=core.windows.net"

    assert key == BlobServiceClient.from_connection_string(filled(account, key)).credential.account_key


@pytest.mark.parametrize("key", ["a;b", " blank in front", "blank behind ", '"quoted"'])
def test_a_key_that_azure_could_not_read_is_refused(key: str) -> None:
    """There are no quotes to put it into."""
    with pytest.raises(BadInput, match="keep semicolons, a quote in front, and spaces") as caught:
        filled("Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey={password}", key)
    assert key not in str(caught.value)


# -- addresses ------------------------------------------------------------------------------------


@given(login=PRINTABLE, password=PRINTABLE)
def test_an_address_reads_back_whatever_the_password_is(login: str, password: str) -> None:
    """Every character that means something in an address is percent-encoded."""
    read = urlsplit(filled("amqps://{login}:{password}@mq.example.com:5671/erp", password, login))

    assert (login, password) == (unquote(read.username or ""), unquote(read.password or ""))
    assert ("mq.example.com", 5671) == (read.hostname, read.port)


@given(login=PRINTABLE, password=PRINTABLE)
def test_redis_and_rabbitmq_read_their_addresses_back(login: str, password: str) -> None:
    """With the clients' own readers."""
    address = filled("rediss://{login}:{password}@cache.example.com:6380/0", password, login)
    redis = parse_url(address)  # type: ignore[no-untyped-call]  # redis leaves it so
    rabbit = pika.URLParameters(filled("amqp://{login}:{password}@mq.example.com:5672/erp", password, login))

    assert (login, password, "cache.example.com") == (redis["username"], redis["password"], redis["host"])
    assert (login, password, "mq.example.com") == (
        rabbit.credentials.username,
        rabbit.credentials.password,
        rabbit.host,
    )


@pytest.mark.parametrize(
    "template",
    [
        "jdbc:postgresql://pg.example.com/erp?user={login}&password={password}",
        "jdbc:mysql://my.example.com/erp?user={login}&password={password}",
        "redis://cache.example.com:6379/0?username={login}&password={password}",
        "https://api.example.com/v1?user={login}&password={password}",
    ],
)
@given(login=PRINTABLE, password=PRINTABLE)
def test_a_query_reads_back_whatever_the_password_is(template: str, login: str, password: str) -> None:
    """A blank is no plus sign, and a plus sign no blank."""
    read = parse_qs(urlsplit(filled(template, password, login).removeprefix("jdbc:")).query, strict_parsing=True)

    assert (login, password) == (read.get("user", read.get("username", [""]))[0], read["password"][0])


@pytest.mark.parametrize("template", ["https://{password}.example.com/", "amqp://{password}", "{password}://host/"])
def test_an_address_has_no_value_where_its_host_is(template: str) -> None:
    """Nobody decodes a host."""
    with pytest.raises(BadInput, match=r"where an address has its host; write it before an '@'"):
        filled(template, "x", form="url")


# -- JSON -----------------------------------------------------------------------------------------


@given(login=PRINTABLE, password=PRINTABLE)
def test_json_reads_back_whatever_the_password_is(login: str, password: str) -> None:
    """Quotes and backslashes are escaped; all other braces, lists and numbers stay as they are."""
    template = '{"mqtt": {"user": "{login}", "auth": ["{password}", 1e3]}, "note": "{braces} {}"}'

    text = filled(template, password, login)
    assert {"mqtt": {"user": login, "auth": [password, 1000.0]}, "note": "{braces} {}"} == json.loads(text)
    assert text.endswith(', 1e3]}, "note": "{braces} {}"}')


@given(password=PRINTABLE)
def test_a_connection_string_in_json_is_quoted_for_both_readers(password: str) -> None:
    """First as its own reader wants it, then as JSON does."""
    template = '{"ConnectionStrings": {"Erp": "Server=s;Password={password}", "Mq": "amqp://me:{password}@mq"}}'

    read = json.loads(filled(template, password))["ConnectionStrings"]
    assert password == read_connection_string(read["Erp"])["Password"]
    assert password == pika.URLParameters(read["Mq"]).credentials.password


def test_json_that_is_named_takes_a_text_within_it_to_the_letter() -> None:
    """Unless that tells by its looks who reads it."""
    template = '{"dsn": "host=pg password={password}"}'

    with pytest.raises(BadInput, match="'value_quoting'"):
        filled(template, 'a"b')
    assert {"dsn": 'host=pg password=a"b'} == json.loads(filled(template, 'a"b', form="json"))


def test_a_placeholder_without_quotes_is_no_json() -> None:
    """A password of digits would become a number."""
    with pytest.raises(BadInput, match="is no JSON; write placeholders in double quotes"):
        filled('{"pin": {password}}', "123", form="json")


# -- lists ----------------------------------------------------------------------------------------


@given(password=PRINTABLE.filter(lambda text: "," not in text and text == text.strip()))
def test_a_list_reads_back_to_the_letter(password: str) -> None:
    """StackExchange.Redis splits at commas, then at the first equals sign."""
    text = filled("cache.example.com:6380,password={password},ssl=True", password)

    assert ["cache.example.com:6380", f"password={password}", "ssl=True"] == text.split(",")


@pytest.mark.parametrize("password", ["one,two", " blank in front", "blank behind "])
def test_a_list_refuses_what_it_has_no_way_to_write(password: str) -> None:
    """A list of settings between commas knows no quotes."""
    with pytest.raises(BadInput, match="keep commas") as caught:
        filled("cache:6380,password={password},ssl=True", password)
    assert password not in str(caught.value)


# -- what is refused ------------------------------------------------------------------------------

NO_TELLING = [
    "API_KEY={password}",
    "host=pg user={login} password={password}",
    "Server=s;ApiToken={password}",
    "{{password}}",
    "password: {password}",
    '{"pin": {password}}',
    "<secret>{password}</secret>",
    "jdbc:oracle:thin:{login}/{password}@db:1521/erp",
    "jdbc:mariadb://db/erp?user={login}&password={password}",
    "jdbc:postgresql://{login}:{password}@db/erp",
    "user={login}&password={password}",
    'PlainLoginModule required username="{login}" password="{password}";',
]


@pytest.mark.parametrize("template", NO_TELLING)
def test_a_text_that_does_not_tell_who_reads_it_is_refused_with_the_choices(template: str) -> None:
    """It would be stored wrong as soon as the password has a character that means something."""
    with pytest.raises(BadInput, match="does not show how the value is to be quoted") as caught:
        filled(template, "x")
    assert all(f"'{form}' for {reader}" in str(caught.value) for form, reader in FORMS.items())


@pytest.mark.parametrize(
    "template", ["Server=s;Uid={login};Pwd={password}", "Server=s;Port=5432;Uid=me;Pwd={password};"]
)
def test_what_ado_net_and_odbc_both_read_takes_what_both_write_alike_and_no_more(template: str) -> None:
    """Both know `Uid` and `Pwd`, and quote in ways of their own: what needs quotes is refused with the choices."""
    assert template.replace("{login}", "me").replace("{password}", "Plain-0") == filled(template, "Plain-0")
    for password in ("a;b", "a!b", "{ab}", "a b", 'a"b'):
        with pytest.raises(BadInput, match="does not show how the value is to be quoted") as caught:
            filled(template, password)
        assert all(f"'{form}' for {reader}" in str(caught.value) for form, reader in FORMS.items())
    assert read_connection_string(filled(template, "a;b", form="sql"))["Pwd"] == "a;b"
    assert OdbcParser()._parse(filled(template, "a;b", form="odbc"))["pwd"] == "a;b"  # noqa: SLF001 - as above
    assert "a;b" == read_connection_string(filled(f"Initial Catalog=erp;{template}", "a;b"))["Pwd"]


@pytest.mark.parametrize(("template", "text"), [("{password}", "x"), ("Bearer {value}", "Bearer x")])
def test_a_text_that_nobody_would_unquote_is_plain(template: str, text: str) -> None:
    """So is any, where that is what the record says."""
    assert text == filled(template, "x")
    assert f"A={text}; {{}}" == filled(f"A={template}; {{}}", "x", form="plain")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("password", ["", "line\nbreak", "nul\0"])
def test_no_form_takes_an_empty_value_or_control_characters(form: str, password: str) -> None:
    """They would end a line, a value, or a reader's patience."""
    with pytest.raises(BadInput, match=r"is empty|control character"):
        filled('{"KEY": "{password}"}' if form == "json" else "KEY={password}", password, form=form)


@pytest.mark.parametrize(
    ("form", "template"),
    [
        ("", "Server=s;Password='{password}';"),
        ("sql", "Server=s;Password='{password}';"),
        ("sql", "Server=s;Password=pre{password};"),
        ("sql", "Server=s;{password}=x;"),
        ("sql", "Server=s;Password={password}post"),
        ("sql", 'provider connection string="Server=s;Password={password};Encrypt=True"'),
        ("sql", "Server=s;Password={{password}};"),
        ("odbc", "Driver={x};Pwd={pre{password}};"),
        ("odbc", "Driver={x};Pwd={{password};"),
        ("odbc", "Driver={x;Pwd={password};"),
        ("azure", "BlobEndpoint=https://b/;SharedAccessSignature=sv=1&sig={password}"),
        ("azure", "Endpoint=sb://x/;SharedAccessKey= {password}"),
        ("list", "cache:6380,password=pre{password},ssl=True"),
    ],
)
def test_a_value_between_separators_is_the_placeholder_alone(form: str, template: str) -> None:
    """Quotes are ours to set: a template that has its own would be quoted twice."""
    with pytest.raises(BadInput, match=r"within a longer value|does not show"):
        filled(template, "x", form=form)


@pytest.mark.parametrize("template", ["", "no placeholder", "User Id={login};", "{user}", "{ password }"])
def test_a_template_without_the_value_is_refused(template: str) -> None:
    """What would be stored would not have the secret in it."""
    with pytest.raises(BadInput, match=r"neither \{password\} nor \{value\}"):
        filled(template, "x")


@pytest.mark.parametrize("form", ["plain", "json"])
def test_text_that_merely_looks_like_a_placeholder_stays(form: str) -> None:
    """Braces with other words in them belong to the format; so do those in a value."""
    template = '{"key": {"a": 1}, "v": "{value}"}'

    assert template.replace("{value}", "{login}") == filled(template, "{login}", form=form)
