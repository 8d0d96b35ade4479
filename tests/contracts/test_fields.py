"""The contract of fields: what a rotation refuses the audit finds, and nothing else, in every field of every script."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pam_scripts.assembly.registry import CONSUMERS, MIRRORS
from pam_scripts.assembly.script import Script
from pam_scripts.cli.audit.deadlines import HostDeadlines
from pam_scripts.cli.audit.finding import Finding
from pam_scripts.cli.audit.rules import NO_ADMIN, SETTING
from pam_scripts.cli.audit.subject import Cadence, Subject
from pam_scripts.cli.audit.survey import survey
from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.cli.shared import Shared
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.fields import (
    Choice,
    Field,
    Flag,
    HttpsAddress,
    HttpsAddresses,
    Names,
    Number,
    PageAddresses,
    Text,
    normalised,
)
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.issuers.azure_resource.kinds import ResourceId
from pam_scripts.issuers.keycloak.client import ServerAddress
from pam_scripts.issuers.values import OptionalDays, ValueFormat
from pam_scripts.logins.aws import REGION_TEXT
from pam_scripts.stores import openbao
from sandbox.plant import SEEQ_HOST, SeeqUserPlant, on_loopback
from tests.cli.conftest import Command, attach
from tests.support import invariants
from tests.support.amount import THOROUGH
from tests.support.in_process import UpToItsParts, carry_out
from tests.support.plants import PLANTS

APPLICATION, USER, APP, VALUE = (
    "rotate_seeq_application_key",
    "rotate_seeq_user_key",
    "rotate_azure_app_secret",
    "publish_secret",
)
QUEUE = "rotate_rabbitmq_password"
SUBSCRIPTION = "53a58e5a-745f-41da-992c-0642f48d155a"
RECORD, ATTACHED, CONFIGURATION = "the PAM User record", "the attached record", "the PAM Configuration"


@dataclass(frozen=True)
class Site:
    """Records of a script that nothing is wrong with, as Secrets Manager gives them. uids: theirs, by what they are."""

    script: Script
    shared: Shared
    uids: Mapping[str, str]

    def having(self, *edits: tuple[str, str, str]) -> Site:
        """Return them with other values in some fields: which record, which label, what it holds."""
        records = dict(self.shared.records)
        for which, label, value in edits:
            uid = self.uids[which]
            record = copy.copy(records[uid])
            record.dict = copy.deepcopy(record.dict)
            items = [*record.dict["fields"], *record.dict["custom"]]
            found = [one for one in items if normalised(one.get("label") or one["type"]) == normalised(label)]
            if not found:
                found.append({"type": "text", "label": label})
                record.dict["custom"].append(found[0])
            found[0]["value"] = [value] if value else []
            records[uid] = record
        return replace(self, shared=replace(self.shared, records=records))

    def audited(self) -> Subject:
        """Return what an audit reads in the record; it has no time left to ask anybody."""
        (subject,) = survey(self.shared, HostDeadlines(Deadline(0), 1), Cadence(), utc_now(), lambda _line: None)
        assert self.script is subject.script
        return subject

    def judged(self) -> list[Finding]:
        """Return what is wrong with the record's fields; a run and an audit must say the same."""
        rotated = UpToItsParts(self.script)
        job = self.shared.job(self.uids[RECORD], settings_first=True)
        said = carry_out(rotated, lambda _run: replace(job, new_password=Secret("Keepers-own-7Q")))
        found = [finding for finding in self.audited().findings if finding.rule in (SETTING, NO_ADMIN)]
        # A run that only looks where Keeper has changed the password already is not certain, though nothing is wrong.
        assert bool(found) == (said.returncode == 2), f"the run: {said.stderr}the audit: {found}"
        assert said.returncode in {0, 2} or "Keeper has changed the password already" in said.stderr
        assert rotated.reached != bool(found) or "nothing else is done while 'diagnose'" in said.stdout
        if found:
            assert found[0].what in said.stderr, "the run stops at what the audit names first"
        return found


@pytest.fixture(scope="module")
def sites() -> Iterator[Mapping[str, Site]]:
    """Return the records of each script, fetched once; whoever changes them changes a copy."""
    found = {}
    for script in SCRIPTS:
        with ExitStack() as stack:
            plant = stack.enter_context(on_loopback(PLANTS[script.stem]))
            attach(plant, plant.user_uid, plant.attached)
            # What a good value of another field needs beside it.
            plant.set_field("subscription_id", SUBSCRIPTION, plant.configuration_uid)
            plant.set_field("aws_region", "eu-central-1")
            patched = stack.enter_context(pytest.MonkeyPatch.context())
            for name, value in plant.environment().items():
                patched.setenv(name, value)
            uids = {RECORD: plant.user_uid, CONFIGURATION: plant.configuration_uid}
            uids |= {ATTACHED: plant.attached[0]} if plant.attached else {}
            found[script.stem] = Site(script, Shared.fetch(Deadline(60)), uids)
    with pytest.MonkeyPatch.context() as patched:
        # Whoever asks somebody all the same hears nothing.
        patched.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        yield found


# -- every field ----------------------------------------------------------------------------------

# Of these some are bad for whatever has a pattern.
STRANGE = ("two words", "\u00fcmlaut/\u00df", "a?b", "#", "../..", "-", "x" * 3000)


@dataclass
class Samples:
    """Values for a field: those that it takes, and those that it does not."""

    good: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)


@functools.cache
def matching(pattern: str) -> tuple[str, ...]:
    """Return texts that match a pattern, the same ones every time."""
    found: list[str] = []

    @settings(max_examples=8, derandomize=True, database=None, phases=[Phase.generate])
    @given(
        st.from_regex(re.compile(pattern), fullmatch=True, alphabet=st.characters(min_codepoint=33, max_codepoint=126))
    )
    def collect(text: str) -> None:
        found.append(text)

    collect()
    return tuple(sorted({*found}, key=len)[:4])


def of_text(parser: Text) -> Samples:
    """Take what the pattern describes, and what it does not."""
    if parser == Text():
        return Samples(["routine", "pr\u00fcfung 7"])
    if parser == REGION_TEXT:
        named = ["eu-central-1", "us-gov-west-1", "cn-north-1", f"eu-{'c' * 58}-1"]
        # Towns, zones, what the SDK refuses, and those whose hosts are in domains of their own.
        unnamed = ["Frankfurt", "eu-central", "eu-central-1a", "-eu-1", f"eu-{'c' * 59}-1", "us-iso-east-1"]
        return Samples(named, [*unnamed, "eu-central-1-", *STRANGE])
    return Samples([*matching(parser.pattern)], [one for one in STRANGE if not re.fullmatch(parser.pattern, one)])


def of_number(parser: Number | OptionalDays) -> Samples:
    """Take the bounds, and the numbers beside them."""
    low, high = parser.lowest, parser.highest
    bad = [low - 1, high + 1, f"{low}.5", f"{low} s", "ninety", "1e2", "9" * 40, f"+{low}", "soon"]
    return Samples([str(low), f" {high} ", str((low + high) // 2)], [str(one) for one in bad])


def of_flag(_parser: Flag) -> Samples:
    """Take the words for true and false, however they are written."""
    return Samples(["True", "false", "YES", "no", "On", "off", "1", "0"], ["maybe", "2", "Truth", "True, False"])


def of_choice(parser: Choice) -> Samples:
    """Take each word, however it is written."""
    good = [written for word in parser.words for written in (word, word.upper())]
    return Samples(good, ["neither", f"{parser.words[0]}, {parser.words[-1]}"])


def of_names(parser: Names) -> Samples:
    """Take one name, several, one twice; and a bad one by itself or among good ones."""
    good = matching(parser.pattern)
    bad = [one for one in STRANGE if not re.fullmatch(parser.pattern, one)]
    return Samples([*good, ", ".join(good), f"{good[0]},{good[0]}", ",,"], [*bad, f"{good[0]}, {bad[0]}"])


def of_address(parser: HttpsAddress) -> Samples:
    """Take the server's own address in every spelling."""
    good = [f"https://{host}{path}" for host in (SEEQ_HOST, SEEQ_HOST.upper()) for path in parser.paths]
    host = SEEQ_HOST
    bad = [f"http://{host}", f"ftp://{host}", host, "https://", f"https://{host}/elsewhere", f"https://{host}?x=1"]
    return Samples(good, [*bad, f"https://{host}#x", f"https://someone@{host}", *nowhere("https")])


def nowhere(scheme: str) -> list[str]:
    """Return addresses that lead nowhere: no host's name, half an address of IPv6, a port that there is not."""
    hosts = ("[::1", "[::1]x", "[name]", "::1", "a..b", "-a", "*.example.com", "x" * 64, "\u00fcmlaut", "%41", ".", "[")
    ports = ("port", "0", "65536", "-1", "")
    return [f"{scheme}://{host}" for host in (*hosts, *(f"{SEEQ_HOST}:{port}" for port in ports))]


def of_pages(_parser: PageAddresses) -> Samples:
    """Take one address, several, one of IPv6 and one with a port; none that leads nowhere, nor among others."""
    good = [f"https://{SEEQ_HOST}/health", "http://[::1]:8080", "https://a.b:8443/x/y"]
    bad = [*nowhere("https"), *nowhere("http"), f"https://someone@{SEEQ_HOST}/", f"https://{SEEQ_HOST}/?x=1"]
    return Samples([*good, ", ".join(good), "\n".join(good)], [*bad, f"{good[0]}, {bad[0]}", f"{SEEQ_HOST}/health"])


def of_address_with_path(_parser: ServerAddress) -> Samples:
    """Take the server's own address with the path that it may have."""
    good = [f"https://{SEEQ_HOST}{path}" for path in ("", "/", "/auth", "/auth/", "/sso/auth")]
    bad = [one for one in of_address(HttpsAddress()).bad if "elsewhere" not in one]
    bad += [f"{one}/auth" for one in nowhere("https")]
    paths = ("/..", "/auth/../x", "/a b", "/auth?x=1", "/%2e", "//")
    return Samples(good, [*bad, *(f"https://{SEEQ_HOST}{path}/x" for path in paths)])


def of_value_format(_parser: ValueFormat) -> Samples:
    """Take each kind with its least and its greatest number."""
    numbers = {"hex": (16, 256), "base64": (16, 256), "alnum": (22, 512)}
    good = [f"{kind}:{number}" for kind, bounds in numbers.items() for number in bounds]
    bad = [f"{kind}:{number}" for kind, (least, most) in numbers.items() for number in (least - 1, most + 1, "", "x")]
    return Samples(["keeper", "uuid", "UUID", *good], [*bad, "hex", "rot13:32", "uuid:4"])


def of_resource_id(_parser: ResourceId) -> Samples:
    """Take one of each kind, however it is spelled; no part of one, and nothing else of Azure."""
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/plant-data/providers"
    cluster, account = (
        f"{group}/Microsoft.Cache/redisEnterprise/cache",
        f"{group}/Microsoft.Storage/storageAccounts/data",
    )
    good = [
        f"{group}/Microsoft.Cache/redis/cache",
        f"{cluster}/databases/default",
        account,
        account.lower(),
        f"{account}/",
    ]
    return Samples(good, [cluster, group, f"{group}/Microsoft.Web/sites/s", "plantdata", f"{account}/blobServices/x y"])


SAMPLES: Mapping[type[Any], Callable[[Any], Samples]] = {
    Text: of_text,
    Number: of_number,
    OptionalDays: of_number,
    Flag: of_flag,
    Choice: of_choice,
    Names: of_names,
    PageAddresses: of_pages,
    HttpsAddress: of_address,
    ServerAddress: of_address_with_path,
    ValueFormat: of_value_format,
    ResourceId: of_resource_id,
}


# Where not all is to be gone through, a field that several scripts have alike is tried in the first one.
INPUTS = [
    pytest.param(script.stem, one, id=f"{script.stem}-{one.label}")
    for script in SCRIPTS
    for one in script.inputs
    if THOROUGH or script is SCRIPTS[0] or one not in SCRIPTS[0].inputs
]


@pytest.mark.parametrize(("stem", "asked"), INPUTS)
def test_what_a_field_does_not_take_stops_the_run_and_is_found_by_the_audit(
    stem: str, asked: Field[Any], sites: Mapping[str, Site]
) -> None:
    """Status 2 if and only if there is a finding, which names the field and nothing else."""
    for value in SAMPLES[type(asked.parser)](asked.parser).bad:
        found = sites[stem].having((RECORD, asked.label, value)).judged()

        assert [SETTING] == [finding.rule for finding in found], value
        assert f"field '{asked.label}' " in found[0].what
        assert asked.parser.expected in f"{found[0].what}; {found[0].way_out}"


@pytest.mark.parametrize(("stem", "asked"), INPUTS)
def test_what_a_field_takes_is_refused_by_nobody(stem: str, asked: Field[Any], sites: Mapping[str, Site]) -> None:
    """Every kind of value that a field says it takes is one that a run goes on with, and the audit is content with."""
    samples = SAMPLES[type(asked.parser)](asked.parser)
    assert samples.good
    if not asked.required:
        samples.good += ["", "<left as the template has it>"]
    for value in samples.good:
        found = sites[stem].having((RECORD, asked.label, value)).judged()

        refusals = (f"field '{asked.label}' is {value.strip()!r}", f"field '{asked.label}' has a value that")
        assert [] == [one.what for one in found if any(words in one.what for words in refusals)]


@pytest.mark.parametrize(
    ("stem", "asked"), [one for one in INPUTS if isinstance(one.values[1], Field) and one.values[1].required]
)
def test_a_required_field_that_is_empty_is_told(stem: str, asked: Field[Any], sites: Mapping[str, Site]) -> None:
    """Empty, blank or a template's placeholder: the run stops, the audit has it, and both say what to enter."""
    for value in ("", "  ", f"<{asked.prompt}>"):
        found = sites[stem].having((RECORD, asked.label, value)).judged()

        assert [f"field '{asked.label}' is empty"] == [finding.what for finding in found]
        assert f"enter {asked.meaning}" == found[0].way_out


def test_every_kind_of_field_has_its_samples() -> None:
    """A further kind of field is tried too: what it takes, and what it does not."""
    assert {type(asked.parser) for script in SCRIPTS for asked in script.inputs} == set(SAMPLES)


# Each in the first script that has it.
ADDRESSES = {
    one.label: script.stem
    for script in reversed(SCRIPTS)
    for one in script.logins
    if isinstance(one.parser, (HttpsAddress, HttpsAddresses))
}


@pytest.mark.parametrize("label", ADDRESSES)
def test_an_admins_address_that_leads_nowhere_is_found_by_the_audit(label: str, sites: Mapping[str, Site]) -> None:
    """It stops the run with status 2, before anybody is asked."""
    for value in nowhere("https"):
        site = sites[ADDRESSES[label]]
        found = site.having((RECORD, openbao.LABEL, "team/plant/x"), (ATTACHED, label, value)).judged()

        assert any(f"field '{label}' " in finding.what for finding in found), value


@pytest.mark.parametrize("stem", PLANTS)
def test_records_that_nothing_is_wrong_with_are_called_so(stem: str, sites: Mapping[str, Site]) -> None:
    """Neither the run nor the audit finds anything: what is found below comes of the change that was made."""
    assert [] == sites[stem].judged()


# -- fields that need each other, and the admin's -------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One or more fields that cannot be as they are, and words of the finding."""

    stem: str
    edits: Sequence[tuple[str, str, str]]
    words: str
    code: str = SETTING.code


def user(label: str, value: str) -> tuple[str, str, str]:
    """Edit the PAM User record."""
    return RECORD, label, value


CASES = {
    "apps without a subscription": Case(
        APP,
        [user("container_apps", "plant/portal"), (CONFIGURATION, "subscription_id", "")],
        "no record has a field 'subscription_id'",
    ),
    "apps with a subscription that is none": Case(
        APPLICATION,
        [user("container_apps", "plant/portal"), (CONFIGURATION, "subscription_id", "ours")],
        "'subscription_id' has a value that is not shown",
    ),
    "an app without its group": Case(
        APP, [user("container_apps", "portal")], "'container_apps' has a value that is not shown"
    ),
    "a page without its host": Case(
        USER, [user("health_urls", "portal/health")], "'health_urls' has a value that is not shown"
    ),
    "a prefix that makes a name too long": Case(
        APP, [user("secret_name_prefix", "x" * 100)], "field 'secret_name_prefix' makes the secret name"
    ),
    "a life that Azure does not give": Case(APP, [user("expiry_days", "1000")], "field 'expiry_days' is '1000'"),
    "a time to settle that is none": Case(APP, [user("settling_seconds", "soon")], "'settling_seconds' is 'soon'"),
    "neither yes nor no": Case(USER, [user("delete_other_labels", "maybe")], "'delete_other_labels' is 'maybe'"),
    "a region by its town": Case(
        APPLICATION, [user("aws_region", "Frankfurt")], "'aws_region' has a value that is not shown"
    ),
    "a region by its town, in the configuration": Case(
        APPLICATION,
        [user("aws_secret_id", "plant/x"), user("aws_region", ""), (CONFIGURATION, "region_names", "Frankfurt")],
        "'region_names' has a value that is not shown",
    ),
    "a secret in no region": Case(
        VALUE, [user("aws_secret_id", "plant/x"), user("aws_region", "")], "field 'aws_region' is empty"
    ),
    "nowhere to publish to": Case(
        VALUE, [user("key_vault_name", "")], "no mirror is named in 'key_vault_name' or 'aws_secret_id'"
    ),
    "a vault, and no name for the secret": Case(VALUE, [user("secret_name", "")], "field 'secret_name' is empty"),
    "a template without its value": Case(
        VALUE, [user("value_template", "User Id={login}")], "'value_template' has neither {password} nor {value}"
    ),
    "a template that quotes by itself": Case(
        VALUE, [user("value_template", "Server=sql;Password='{password}'")], "has {password} within a longer value"
    ),
    "a template with a login that is not there": Case(VALUE, [user("login", "")], "the record's login is empty"),
    "a user nobody knows": Case(
        USER, [user("username", ""), user("user_id", ""), user("login", "")], "the login are empty; enter one of them"
    ),
    "a user without a letter": Case(USER, [user("username", "!?!")], "has no letter or digit"),
    "no server": Case(
        APPLICATION,
        [user("seeq_server_url", ""), (ATTACHED, "seeq_server_url", "")],
        "does not say at which Seeq server",
        NO_ADMIN.code,
    ),
    "the admin's server": Case(
        APPLICATION,
        [user("seeq_server_url", ""), (ATTACHED, "seeq_server_url", "http://seeq.example.com")],
        "'seeq_server_url' has a value that is not shown",
    ),
    "no admin's password": Case(
        APPLICATION, [(ATTACHED, "password", "")], "no attached record has 'login', 'password' and", NO_ADMIN.code
    ),
    "a cloud of its own": Case(APP, [(ATTACHED, "azure_cloud", "mars")], "field 'azure_cloud' is 'mars'"),
    "a tenant by its name": Case(
        APP, [(ATTACHED, "tenant_id", "our tenant")], "'tenant_id' has a value that is not shown"
    ),
    "an application by its name": Case(
        USER,
        [(CONFIGURATION, "client_id", "our app")],
        "'client_id' has a value that is not shown",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_several_fields_say_together_is_judged_alike(name: str, sites: Mapping[str, Site]) -> None:
    """The run ends with status 2, the audit has a finding, and both in the same words."""
    case = CASES[name]
    found = sites[case.stem].having(*case.edits).judged()

    told = [f"{finding.what}; {finding.way_out}" for finding in found if finding.rule.code == case.code]
    assert [True] == [case.words in one for one in told], found


def test_all_that_is_wrong_is_found_at_once(sites: Mapping[str, Site]) -> None:
    """A person who corrects a record is told of every field, not of one after the other; none comes twice."""
    labels = (
        "seeq_server_url",
        "expiry_days",
        "dry_run",
        "key_vault_combined",
        "container_apps",
        "aws_region",
        "take_over",
    )
    found = sites[APPLICATION].having(*(user(label, "what is this?") for label in labels)).judged()

    assert sorted(labels) == sorted(re.findall(r"field '(\w+)'", " ".join(finding.what for finding in found)))


def test_every_mirror_and_consumer_is_asked_for_by_an_input() -> None:
    """What is tried above is all that there is: each of them has a field in every script."""
    labels = {kind.LABEL for kind in (*MIRRORS, *CONSUMERS)}

    assert labels
    assert [labels] * len(SCRIPTS) == [labels & {asked.label for asked in script.inputs} for script in SCRIPTS]


# -- end to end -----------------------------------------------------------------------------------

END_TO_END = {
    APPLICATION: [("secret_name_prefix", "x" * 100), ("aws_region", "Frankfurt")],
    USER: [("delete_other_labels", "maybe")],
    APP: [("expiry_days", "1000"), ("container_apps", "plant/portal")],
    VALUE: [("key_vault_name", "")],
}


@pytest.mark.parametrize(
    ("stem", "label", "value"), [(stem, *edit) for stem, edits in END_TO_END.items() for edit in edits]
)
def test_the_attached_file_and_the_command_agree(
    stem: str, label: str, value: str, make_script: Callable[..., invariants.Script], command: Command
) -> None:
    """The bundle ends with status 2 and has asked nobody; the audit of the same record names the same field."""
    with on_loopback(PLANTS[stem]) as plant:
        plant.set_field(label, value)
        attach(plant, plant.user_uid, plant.attached)

        result = make_script(stem).run(plant)
        asked = list(plant.wire.log)
        told = command("audit", "--json", sandbox=plant)

    problems = [problem for record in json.loads(told.stdout)["records"] for problem in record["problems"]]
    (setting,) = (problem for problem in problems if problem["code"] == SETTING.code)
    assert (2, []) == (result.returncode, asked), result.stderr
    assert f"'{label}'" in setting["what"]
    assert setting["what"] in result.stderr


# -- what a field changes -------------------------------------------------------------------------


def test_the_audit_sees_the_keys_that_a_rotation_would_delete(make_script: Callable[..., invariants.Script]) -> None:
    """With `delete_other_labels` as `Yes` the user's keys of other labels are the record's to replace, for both."""
    with on_loopback(SeeqUserPlant) as plant, pytest.MonkeyPatch.context() as patched:
        other, _ = plant.seeq.add_key(plant.user_id, "of a notebook")
        plant.set_field("delete_other_labels", "Yes")
        attach(plant, plant.user_uid, plant.attached)
        for name, value in plant.environment().items():
            patched.setenv(name, value)

        (subject,) = survey(
            Shared.fetch(Deadline(60)), HostDeadlines(Deadline(60), 9), Cadence(), utc_now(), lambda _line: None
        )
        looked = invariants.assert_looks(make_script(USER), plant, "check")

    assert {plant.old_key_id, other} == {key.id for key in subject.alive}
    assert {plant.old_key_id, other} == {*re.findall(r"^ +to delete: (\S+)", looked.stdout, re.MULTILINE)}
