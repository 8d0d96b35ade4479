"""What people write in a page contradicts neither the code nor the reference that is made of it."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path, PureWindowsPath

import pytest

from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core import errors, host
from pam_scripts.issuers.aws_user import refusals as aws_user
from pam_scripts.issuers.azure_resource.kinds import KINDS, STORAGE
from pam_scripts.rotation.lease import LEASE
from pam_scripts.rotation.ops_log import Entry
from tests.conftest import ROOT
from tests.docs.pages import PAGES, prose, words

SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "pam_scripts").rglob("*.py"))
EXAMPLE = (ROOT / "examples/data_lab/seeq_credential.py").read_text(encoding="utf-8")
# What the code gives a name to.
DEFINED = {*re.findall(r"\b\w+(?= *[:=])|(?<=\bdef )\w+", SOURCE + EXAMPLE)}
MODULES = {
    path.stem
    for name in ("examples", "pam_scripts", "sandbox", "tests", "tools")
    for path in (ROOT / name).rglob("*.py")
}
EXAMPLES = (ROOT / "examples").rglob("*")
FOLDERS = {path.name for path in (*ROOT.iterdir(), *EXAMPLES) if path.is_dir()}
STATUSES = {0, *(kind.status for kind in vars(errors).values() if inspect.isclass(kind) and hasattr(kind, "status"))}

# Words of others, by whose they are, that look like a label or a variable of ours.
OTHERS = {
    # What these tests are asked for by.
    "FAULTS_SEED",
    # RabbitMQ's, of its configuration, and our name for one of its refusals.
    "credential_validator",
    "login_failed",
    # Keeper's: events, and a method of Commander's.
    "record_rotation_scheduled_fail",
    "record_rotation_on_demand_fail",
    "scripts_only",
    # What Keeper's SaaS plugins are called by, and have.
    "add_return_field",
    "change_password",
    "rollback_password",
    # Seeq's, of a Data Lab project.
    "DATA_LAB_FUNCTIONS",
    # A measure of Kubernetes.
    "kube_job_status_failed",
    # Keeper's variables of its image.
    "GATEWAY_PIP_PACKAGES",
    "CA_CERTIFICATES",
    # Settings of Seeq's notebook.
    "SEEQ_SERVER_URL",
    "KEYVAULT_NAME",
    "SECRET_NAME_PREFIX",
    # Variables of Azure's SDK, which a step of GitHub's sets.
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    # Settings of AWS's that have no effect here.
    "AWS_ENDPOINT_URL",
    "endpoint_url",
    # A word of MySQL's JDBC driver.
    "VERIFY_IDENTITY",
    # A setting of OpenBao's.
    "delete_version_after",
    # A file of OpenSSH's.
    "allowed_signers",
    # What stands for something in the pages, or is an example.
    "ADMIN_UID",
    "APPLICATION_ID",
    "erp_user",
    "erp_user_a",
    "erp_user_b",
    "secrets_auth",
    "APPLICATION_OBJECT_ID",
    "ARN_OF_THE_SECRET",
    "CLIENT_ID",
    "CONFIG_UID",
    "OLD_FILE",
    "RECORD_UID",
    "VAULT_ID",
}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def labels() -> set[str]:
    """Return every label that the scripts, the PAM Configuration and the ops log know."""
    known = {field.label for script in SCRIPTS for field in (*script.fields, *script.logins, *script.configured)}
    log = set(re.findall(r'"(\w+)": ', inspect.getsource(Entry))) | {field.name for field in fields(Entry)}
    return {*known, LEASE, *log}


@each_page
def test_every_label_that_a_page_names_is_one(page: Path) -> None:
    """A word with underscores is a field's label, a key of the JSON line, or a module's name."""
    named = {word for text in words(page) for word in re.findall(r"(?<![\w./*-])[a-z]+(?:_[a-z]+)+(?![\w(*])", text)}
    named = {word for word in named if not word.startswith("test_")}

    assert set() == named - labels() - MODULES - FOLDERS - OTHERS - DEFINED


@each_page
def test_the_type_that_a_page_gives_a_field_is_the_references(page: Path) -> None:
    """Where a page says of which type a field is to be made, what is secret is hidden, and nothing else."""
    fields = [field for script in SCRIPTS for field in (*script.fields, *script.logins, *script.configured)]
    is_secret = {(field.label, field.type in ("secret", "password")) for field in fields}
    told = re.findall(r"`(\w+)`(?: \((?:a )?| \| )\*?(Text|[Hh]idden [Ff]ield)\b", page.read_text("utf-8"))

    assert [] == [label for label, kind in told if (label, kind != "Text") not in is_secret]


@each_page
def test_every_variable_that_a_page_names_is_one(page: Path) -> None:
    """A word in capitals with underscores stands in the code, or stands for something."""
    named = {word for text in words(page) for word in re.findall(r"(?<![\w./])[A-Z]+(?:_[A-Z]+)+(?!\w)", text)}

    assert set() == {word for word in named - OTHERS if word not in SOURCE}


@each_page
def test_every_exit_status_that_a_page_names_is_one(page: Path) -> None:
    """No page tells of a status that no run ends with."""
    named = {int(number) for number in re.findall(r"(?:[Ss]tatus|exit) \**(\d)\b(?!\d)", prose(page))}

    assert named <= STATUSES


@each_page
def test_every_default_and_bound_of_a_command_stands_in_the_reference_alone(page: Path) -> None:
    """No page has the row of a field: what it takes and its default are made from the code."""
    rows = re.findall(r"^\| `\w+` \| [^|]* \| (?:\*required\*|\*empty\*) \|", page.read_text("utf-8"), re.MULTILINE)

    assert [] == rows


def test_what_finds_words_finds_some() -> None:
    """The tests above look at something: labels, variables and statuses of the pages that have most of them."""
    told = [word for page in PAGES for word in words(page)]

    assert {"seeq_server_url", "KSM_CONFIG", "keep_previous_keys"} <= set(told)
    assert re.findall(r"status \d", " ".join(prose(page) for page in PAGES))


@each_page
def test_every_line_of_a_diagram_is_of_a_form_that_forges_draw(page: Path) -> None:
    """A semicolon ends a statement of Mermaid's, and what follows is no other: the whole diagram is then not drawn."""
    node = r'\w+(?:\["[^"]+"\])?(?: & \w+)*'
    forms = {
        "sequenceDiagram": r"participant \w+ as .+|(?:Note over [\w,]+|\w+-?->>\w+): [^;]+",
        "flowchart": rf'{node}(?: (?:-->|-\.->)(?:\|"[^"]+"\|)? {node})?',
    }
    for block in re.findall(r"```mermaid\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        kind, *lines = block.splitlines()
        assert [] == [line for line in lines if not re.fullmatch(forms[kind.split()[0]], line.strip())]


def test_the_page_of_hosts_names_each_place_that_is_looked_at() -> None:
    """Who looks for the configuration or the log of a Gateway there finds what the code goes by."""
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    windows = [str(PureWindowsPath(path.removeprefix("%PROGRAMDATA%/"))) for path in host.WINDOWS.configurations]
    logs = re.findall(r"(/var/\S+|C:\\\S+)", f"{host.POSIX.log} {host.WINDOWS.log}")

    assert 2 == len(logs)
    assert [] == [
        place
        for place in (*host.POSIX.configurations, *windows, *logs)
        if re.sub(r"^~[/\\]", "", place).replace("\\", "/") not in page.replace("\\", "/")
    ]


def test_the_rights_that_a_page_grants_are_those_that_the_script_is_refused_without() -> None:
    """Whoever enters the role or the policy as the page has it grants each action that the code names, and no other."""
    pages = ("rotate_azure_resource_key", "rotate_aws_access_key")
    azure, aws = ((ROOT / f"docs/{name}.md").read_text("utf-8") for name in pages)
    (role,) = re.findall(r"```json\n(.*?)```", azure, re.DOTALL)
    (policy,) = re.findall(r"```json\n(.*?)```", aws, re.DOTALL)
    asked = {"Microsoft.Authorization/permissions/read", "Microsoft.Authorization/locks/read"}

    assert {*STORAGE.actions} | asked == {*json.loads(role)["Actions"]}
    assert [] == [kind.type for kind in KINDS if kind is not STORAGE and f"`{kind.type}/`" not in azure]
    assert {"iam:GetUser", *aws_user.ACTIONS} == {*json.loads(policy)["Statement"][0]["Action"]}
