"""The example for Seeq Data Lab: the official spy logs in with a key that is rotated under its feet."""

from __future__ import annotations

import configparser
import importlib
import importlib.util
import json
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from sandbox.iam_users import IamPlant
from sandbox.plant import SEEQ_HOST, VAULT, AnyPlant, Plant, on_loopback
from tests.support.in_process import InProcess
from tests.support.invariants import Script, assert_rotates, live_key_ids
from tests.support.spy import Process, ask_utils, notebook

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "data_lab"
DOCUMENT = (ROOT / "docs" / "data-lab.md").read_text(encoding="utf-8")
AWS_SECRET = "plant/seeq-app-reports"
GET = "secretsmanager:GetSecretValue"


class Kernel:
    """A process that has a Data Lab project as its home, in which the example runs."""

    def __init__(self, plant: Plant, home: Path, seconds_between: float) -> None:
        at_home = {"HOME": str(home), "USERPROFILE": str(home), "PYTHONPATH": str(EXAMPLE)}
        self.running = Process(
            notebook,
            f"https://{SEEQ_HOST}",
            seconds_between,
            environment={**plant.wire.environment(), **at_home},
            directory=home.parent,
        )

    def send(self) -> None:
        """Start the cell that logs in."""
        self.running.connection.send("")

    def login(self) -> str:
        """Run the cell; return what it said, empty where the kernel has died."""
        self.send()
        return self.running.answer()

    def stop(self) -> str:
        """End the process and return all that it wrote."""
        return self.running.stop()[1]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return an empty project."""
    directory = tmp_path / "project"
    directory.mkdir()
    return directory


@pytest.fixture
def start(plant: Plant, home: Path) -> Iterator[Callable[..., Kernel]]:
    """Return what starts a kernel; it ends with the test."""
    kernels: list[Kernel] = []

    def start(seconds_between: float = 2) -> Kernel:
        kernels.append(Kernel(plant, home, seconds_between))
        return kernels[-1]

    yield start
    for kernel in kernels:
        if kernel.running.is_running:
            kernel.stop()


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """Import the example as a notebook does; it brings neither spy nor a vendor's library with it."""
    spec = importlib.util.spec_from_file_location("seeq_credential", EXAMPLE / "seeq_credential.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["seeq_credential"] = module
    spec.loader.exec_module(module)
    return module


def hide(home: Path, section: str, settings: Mapping[str, str]) -> Path:
    """Write the hidden file."""
    file = home / ".secrets_auth.ini"
    file.touch(0o600)
    file.write_text(f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    return file


def hide_azure(plant: AnyPlant, home: Path, **more: str) -> None:
    """Make an Entra application that may read secrets, as the role Key Vault Secrets User lets it, and hide it."""
    reader, secret = plant.add_azure_app("Data Lab")
    plant.key_vault.grant(VAULT, reader.client_id, ["get", "list"])
    settings = {
        "tenant_id": plant.tenant_id,
        "client_id": reader.client_id,
        "client_secret": secret,
        "vault_url": plant.vault_url,
        "secret_name": plant.combined_name,
    }
    hide(home, "Azure auth", {**settings, **more})


def hide_aws(plant: Plant, home: Path) -> None:
    """Make an IAM user who may read the one secret and do nothing else, and hide its access key."""
    key_id, secret = plant.aws.add_identity("data-lab")
    plant.aws.allow_only(key_id, GET, name=AWS_SECRET)
    settings = {
        "aws_access_key_id": key_id,
        "aws_secret_access_key": secret,
        "region_name": "eu-central-1",
        "secret_id": AWS_SECRET,
    }
    hide(home, "AWS auth", settings)


def logins(plant: Plant) -> list[tuple[str, int]]:
    """Return user names and statuses of the logins since the log was last emptied."""
    return [
        (json.loads(request.body)["username"], request.status)
        for request in plant.wire.log
        if request.path == "/api/auth/login"
    ]


@pytest.mark.parametrize("where", ["pair", "combined", "aws"])
def test_a_key_that_was_rotated_between_two_uses_is_read_again(
    where: str,
    plant: Plant,
    script: Script,
    home: Path,
    start: Callable[..., Kernel],
) -> None:
    """The second login is refused with the key that is held, reads the new one, and is in; the third is in at once."""
    plant.set_field("key_vault_combined", str(where == "combined"))
    plant.add_aws_mirror(AWS_SECRET)
    hide_azure(plant, home, combined=str(where == "combined"))
    if where == "aws":
        hide_aws(plant, home)
    assert_rotates(script, plant)
    (old,) = live_key_ids(plant)
    kernel = start()
    assert "in as Reports" == kernel.login()

    assert_rotates(script, plant)
    (new,) = live_key_ids(plant)
    plant.wire.log.clear()
    said = [kernel.login(), kernel.login()]

    assert ["in as Reports"] * 2 == said
    assert [(old, 401), (new, 200), (new, 200)] == logins(plant)
    assert not any(value in kernel.stop() for value in plant.secrets())


def test_a_key_that_is_refused_for_good_is_told_once(plant: Plant, home: Path, start: Callable[..., Kernel]) -> None:
    """One login, one more look at the vault, one message that names the key and not its password; then no retries."""
    hide_azure(plant, home)
    plant.key_vault.set(VAULT, plant.password_name, "not the password")
    kernel = start()

    said = kernel.login()

    shown = said + kernel.stop()
    assert said.startswith(f"refused: Seeq at https://{SEEQ_HOST} refuses the access key {plant.old_key_id}, ")
    assert [(plant.old_key_id, 401)] == logins(plant)
    reads = [request for request in plant.wire.log if f"/secrets/{plant.id_name}/" in request.path]
    assert 2 == len([request for request in reads if request.status == 200])
    assert "not the password" not in shown
    assert not any(value in shown for value in plant.secrets())
    assert 1 == shown.count("CredentialError:")
    assert "SPyRuntimeError" not in shown


def test_a_pair_of_two_rotations_is_looked_at_again(plant: Plant, home: Path, start: Callable[..., Kernel]) -> None:
    """Between a rotation's two sets nobody logs in with half of each; once the second is set, the pair is used."""
    hide_azure(plant, home)
    key_id, password = plant.add_key("next")
    plant.key_vault.set(VAULT, plant.password_name, plant.old_password, tags={"rotation-id": "r1"})
    plant.key_vault.set(VAULT, plant.id_name, key_id, tags={"rotation-id": "r2"})
    kernel = start()
    kernel.send()
    while not any(f"/secrets/{plant.password_name}/" in request.path for request in plant.wire.log):
        assert kernel.running.is_running
        time.sleep(0.02)

    plant.key_vault.set(VAULT, plant.password_name, password, tags={"rotation-id": "r2"})

    assert "in as Reports" == kernel.running.answer()
    assert [(key_id, 200)] == logins(plant)


def test_a_pair_that_stays_mixed_is_not_tried(plant: Plant, home: Path, start: Callable[..., Kernel]) -> None:
    """After some looks the message says that a rotation was interrupted; Seeq was not asked."""
    hide_azure(plant, home)
    plant.key_vault.set(VAULT, plant.id_name, plant.old_key_id, tags={"rotation-id": "r2"})

    said = start(seconds_between=0.1).login()

    assert "of two rotations" in said
    assert plant.password_name in said
    assert [] == logins(plant)


def test_a_combined_secret_of_another_shape_is_not_shown(
    plant: Plant, home: Path, start: Callable[..., Kernel]
) -> None:
    """What stands in the secret is not JSON with the two names: the message says so without any of it."""
    hide_aws(plant, home)
    plant.aws.add_secret(AWS_SECRET, '{"password": "hunter2"}')
    kernel = start()

    said = kernel.login()

    assert f"refused: the secret {AWS_SECRET} is not JSON" in said
    assert "hunter2" not in said + kernel.stop()


def refusal(example: ModuleType, file: Path) -> str:
    """Return what the example says of a hidden file that it cannot use."""
    with pytest.raises(example.CredentialError) as refused:
        example.SeeqKey.from_file(file)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    return str(refused.value)


@pytest.mark.parametrize("section", ["Azure auth", "AWS auth"])
def test_every_setting_that_the_hidden_file_lacks_is_named(section: str, example: ModuleType, home: Path) -> None:
    """Each one is named when it is missing or empty, and those that are there are not."""
    names = example.SETTINGS[section]
    for number, name in enumerate(names):
        given = {**dict.fromkeys(names, "x"), name: ""}
        if number % 2:
            del given[name]
        assert refusal(example, hide(home, section, given)).endswith(f"[{section}] lacks {name}")


def test_a_hidden_file_that_cannot_be_read_does_not_show_its_lines(example: ModuleType, home: Path) -> None:
    """A line without a section, a line without a name, no file, and two sections: told without what stands there."""
    file = home / ".secrets_auth.ini"
    assert "cannot be read" in refusal(example, file)
    for text in ("hunter2\n", "[Azure auth]\nhunter2\n", "[Azure auth]\nclient_secret = hunter2\n[AWS auth]\n", ""):
        file.touch(0o600)
        file.write_text(text)
        assert "hunter2" not in refusal(example, file)


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_hidden_file_that_others_may_read_is_not_used(mode: int, example: ModuleType, home: Path) -> None:
    """The message says which file it is, and what to do; nothing of it is read."""
    file = hide(home, "AWS auth", dict.fromkeys(example.SETTINGS["AWS auth"], "x"))
    file.chmod(mode)

    assert refusal(example, file).endswith(f"in a terminal: chmod 600 {file}")


def test_a_percent_sign_in_the_hidden_file_is_just_that(example: ModuleType, home: Path) -> None:
    """AWS and Entra make secrets with any character; none is taken for a reference to another setting."""
    settings = {**dict.fromkeys(example.SETTINGS["AWS auth"], "x"), "aws_secret_access_key": "50%(sure)s %"}
    settings["region_name"] = "eu-central-1"

    source = example.source_from_file(hide(home, "AWS auth", settings))

    assert "50%(sure)s %" == source.client._request_signer._credentials.secret_key  # noqa: SLF001 - boto3 shows it nowhere else


def test_a_credential_does_not_show_its_password(example: ModuleType) -> None:
    """What a notebook shows of a value that ends a cell has the key's id alone."""
    assert "Credential(key_id='K1')" == repr(example.Credential("K1", "hunter2"))


def blocks(language: str) -> list[str]:
    """Return the document's blocks in one language."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", DOCUMENT, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in found]


def test_the_document_shows_the_hidden_file_as_it_is_read(example: ModuleType) -> None:
    """Its two INI blocks have each section's settings and no others, but for `combined`."""
    shown = {}
    for block in blocks("ini"):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(block)
        shown.update({section: set(parser[section]) - {"combined"} for section in parser.sections()})

    assert {section: set(names) for section, names in example.SETTINGS.items()} == shown


def test_the_documents_code_uses_what_the_example_has(example: ModuleType) -> None:
    """Every name that its cells import from the example is there, and the cells are Python."""
    cells = blocks("python")
    imported = {
        name.strip() for line in re.findall(r"from seeq_credential import (.+)", DOCUMENT) for name in line.split(",")
    }
    for cell in cells:
        compile(cell, "docs/data-lab.md", "exec")

    assert imported
    assert {name for name in imported if not hasattr(example, name)} == set()


def test_the_documents_function_of_spy_returns_the_projects_id(tmp_path: Path) -> None:
    """Where a project's id is asked for as the page has it, spy answers what Data Lab has set for the project."""
    (name,) = re.findall(r"`spy\.utils\.(\w+)\(\)`", DOCUMENT)
    asked = Process(ask_utils, name, environment={"SEEQ_PROJECT_UUID": "75744496"}, directory=tmp_path)

    assert "75744496" == asked.answer()
    assert 0 == asked.stop()[0]


def test_the_documents_policy_allows_one_action_on_one_secret() -> None:
    """Its IAM policy is JSON with one statement: reading, and an ARN whose only wildcards are AWS's six characters."""
    (policy,) = (json.loads(block) for block in blocks("json") if "Statement" in block)
    (statement,) = policy["Statement"]

    assert ("Allow", GET) == (statement["Effect"], statement["Action"])
    assert re.fullmatch(r"arn:aws:secretsmanager:[\w-]+:\d{12}:secret:[^*]+-\?{6}", statement["Resource"])


# -- the identity of the bucket, rotated by the script, read from Key Vault -------------------------


CONTENT = b"time,signal,value\n"


def test_the_buckets_key_may_be_in_key_vault_and_rotated_by_the_script(
    example: ModuleType, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secret that `rotate_aws_access_key` keeps; who holds the former key reads it anew once S3 refuses it."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    s3_data_upload = importlib.import_module("s3_data_upload")
    with on_loopback(IamPlant) as plant:
        plant.set_field("key_vault_combined", "True")
        bucket = f"plant-exports-{plant.aws.account_id}"
        plant.s3.add_bucket(bucket)
        plant.user.allowed |= {("s3:GetObject", bucket), ("s3:PutObject", bucket)}
        for name, value in {**plant.environment(), "AWS_CA_BUNDLE": str(plant.wire.ca_file)}.items():
            monkeypatch.setenv(name, value)
        rotated = InProcess("rotate_aws_access_key")
        assert 0 == rotated.run(plant).returncode
        hide_azure(plant, home, combined="True")
        identity = s3_data_upload.S3Identity.from_file("eu-central-1", home / ".secrets_auth.ini")
        identity.use(lambda s3: s3.put_object(Bucket=bucket, Key="day.csv", Body=CONTENT))
        assert 0 == rotated.run(plant).returncode
        plant.wire.log.clear()

        found = identity.use(lambda s3: s3.get_object(Bucket=bucket, Key="day.csv")["Body"].read())
        assert (CONTENT, [403, 200]) == (found, [one.status for one in plant.wire.log if ".s3." in one.host])

        plant.iam.switch(str(plant.keeper.value(plant.user_uid, "iam_access_key_id")), active=False)
        with pytest.raises(example.CredentialError, match=r"S3 refuses the access key .* the one that is stored"):
            identity.use(lambda s3: s3.get_object(Bucket=bucket, Key="day.csv"))
