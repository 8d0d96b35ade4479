"""`doctor` on the Gateway's host, and `diagnose` in a record: what the host is like, told without a secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pam_scripts.cli.reach import clock
from sandbox.faults import Rule, no_effect_no_answer
from sandbox.plant import SEEQ_HOST, VAULT, Plant, on_loopback
from sandbox.publishing import SECRET, STAGE_VAULT, PublishPlant
from sandbox.services.keeper import HOST
from tests.cli.conftest import Command, attach
from tests.conftest import ROOT
from tests.support.invariants import Script, assert_silent, writes


def test_a_healthy_host_is_told_to_be_one(command: Command, plant: Plant) -> None:
    """Interpreter, packages, configuration, proxy, CA and every host of the shared records: all well, exit 0."""
    attach(plant, plant.user_uid, plant.attached)
    result = command("doctor", sandbox=plant)

    assert (0, "") == (result.returncode, result.stderr)
    assert {"ok"} == {line.split()[0] for line in result.stdout.splitlines()}
    for part in ("Python 3.", "requests 2.", "environment variable KSM_CONFIG", str(plant.wire.ca_file)):
        assert part in result.stdout
    for host in (HOST, SEEQ_HOST, f"{VAULT}.vault.azure.net", "login.microsoftonline.com"):
        assert f"{host}: answers" in result.stdout
    assert f"through the proxy 127.0.0.1:{plant.wire.proxy_port}, clocks agree" in result.stdout
    assert [] == [len(value) for value in plant.secrets() if value in result.stdout]
    assert [] == writes(plant.wire.log)


def test_the_hosts_of_every_mirror_and_consumer_are_asked(command: Command) -> None:
    """Each vault that a record names, AWS in its region, and Azure Resource Manager where apps are to be restarted."""
    with on_loopback(PublishPlant) as plant:
        plant.add_aws_mirror("plant/erp", "{}")
        plant.add_app("portal", SECRET)
        attach(plant, plant.user_uid, plant.attached)
        result = command("doctor", sandbox=plant)

    asked = {line.split()[1].rstrip(":") for line in result.stdout.splitlines() if ": answers" in line}
    assert 0 == result.returncode, result.stdout
    assert {
        *(f"{vault}.vault.azure.net" for vault in (VAULT, STAGE_VAULT)),
        *("secretsmanager.eu-central-1.amazonaws.com", "management.azure.com", "login.microsoftonline.com", HOST),
    } == asked


def test_what_cannot_be_read_of_one_system_hides_no_host_of_another(command: Command, plant: Plant) -> None:
    """A region that AWS could not have is no reason to leave the Seeq server out."""
    attach(plant, plant.user_uid, plant.attached)
    plant.set_field("aws_secret_id", "plant/seeq")
    plant.set_field("aws_region", "middle earth")
    result = command("doctor", sandbox=plant)

    assert f"{SEEQ_HOST}: answers" in result.stdout
    assert "amazonaws" not in result.stdout


def test_credentials_in_a_proxys_address_are_not_shown(command: Command, plant: Plant) -> None:
    """Of the proxy only host and port are told."""
    result = command("doctor", sandbox=plant, environment=plant.wire.environment("proxy-user"))

    assert "through the proxy 127.0.0.1:" in result.stdout
    assert "proxy-user" not in result.stdout


def test_a_host_that_does_not_answer_is_named(command: Command, plant: Plant) -> None:
    """Named on the command line or found in the records: what does not answer makes the status 1."""
    plant.wire.rules.append(Rule(no_effect_no_answer(), host=SEEQ_HOST))
    result = command("doctor", SEEQ_HOST, "not.in.the.sandbox", sandbox=plant)

    lines = [line for line in result.stdout.splitlines() if line.startswith("wrong")]
    assert 1 == result.returncode
    assert 2 == len(lines), result.stdout
    assert all("check firewall, HTTPS_PROXY and NO_PROXY" in line for line in lines)


def test_an_untrusted_certificate_is_named(command: Command, plant: Plant) -> None:
    """Without the private CA the way out is said."""
    environment = {"HTTPS_PROXY": plant.wire.environment()["HTTPS_PROXY"]}
    result = command("doctor", SEEQ_HOST, environment=environment, home="/nonexistent")

    assert 1 == result.returncode
    assert f"{SEEQ_HOST}: the server's certificate is not trusted" in result.stdout
    assert "REQUESTS_CA_BUNDLE" in result.stdout


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"clientId": "AAAA"}, "get secret: 403 Forbidden (access_denied); check that the Gateway's Secrets Manager"),
        ({"serverPublicKey": ""}, "get secret: the server asks for a public key that the SDK does not know; update"),
        ({"privateKey": "AAAA"}, "the Secrets Manager configuration is damaged: its 'privateKey' is not a key"),
        ({"hostname": "not.in.the.sandbox"}, "no connection to not.in.the.sandbox (through the proxy 127.0.0.1:"),
    ],
)
def test_whatever_secrets_manager_refuses_is_wrong(
    change: dict[str, str], line: str, command: Command, plant: Plant
) -> None:
    """A host whose device is locked cannot rotate anything: exit 1, with the reason and the way out in one line."""
    config = json.dumps({**plant.keeper.config(), **change})
    result = command("doctor", SEEQ_HOST, sandbox=plant, environment={"KSM_CONFIG": config})

    assert 1 == result.returncode
    [told] = [each for each in result.stdout.splitlines() if each.startswith("wrong    Secrets Manager: ")]
    assert line in told
    assert f"ok       {SEEQ_HOST}: answers" in result.stdout
    assert "clientId" not in result.stdout


def test_records_that_cannot_be_decrypted_are_warned_of(command: Command, plant: Plant) -> None:
    """They are named, and the others counted."""
    damaged = plant.keeper.add_record("login", "damaged")
    plant.keeper.unreadable.add(damaged)
    result = command("doctor", sandbox=plant)

    assert 0 == result.returncode
    assert f"warning  Secrets Manager: keeper: record {damaged} cannot be decrypted" in result.stdout
    assert "3 records are shared, 1 of them rotations" in result.stdout


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_a_proxy_for_http_alone_is_said_not_to_be_used(name: str, command: Command, plant: Plant) -> None:
    """What looks set up is not: the variable is named, and the one to set; so it is where no host can be reached."""
    environment = {name: plant.wire.environment()["HTTPS_PROXY"], "HTTPS_PROXY": ""}
    result = command("doctor", "not.in.the.sandbox.invalid", environment=environment, home="/nonexistent")

    lines = result.stdout.splitlines()
    assert 1 == result.returncode
    assert "warning  Proxy: HTTP_PROXY is set, and not used" in result.stdout
    [told] = [each for each in lines if each.startswith("wrong    not.in.the.sandbox.invalid: ")]
    assert "no connection to not.in.the.sandbox.invalid (directly): " in told
    assert "HTTP_PROXY is not used for https: set HTTPS_PROXY" in told


def test_without_any_package_it_says_which_are_missing(runtime_python: str) -> None:
    """Before anything is installed it tells what requirements.txt has; other commands do, too, without a traceback."""
    required = re.findall(r"^[\w-]+", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    for arguments, status in ((["doctor"], 1), (["check", "SomeRecordsUid", "--credential", "X"], 2)):
        result = subprocess.run(
            [runtime_python, "-S", "-m", "pam_scripts", *arguments],
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent"},
            capture_output=True,
            text=True,
            check=False,
        )
        told = result.stdout + result.stderr
        assert (status, False) == (result.returncode, "Traceback" in told), told
        assert f"pip install {' '.join(required)}" in told


def test_without_a_configuration_the_rest_is_told(command: Command, plant: Plant) -> None:
    """A host that is not set up yet gets its list all the same."""
    result = command("doctor", SEEQ_HOST, environment=plant.wire.environment(), home="/nonexistent")

    assert 1 == result.returncode
    assert "wrong    Secrets Manager configuration: no Secrets Manager configuration was found" in result.stdout
    assert f"ok       {SEEQ_HOST}: answers" in result.stdout


@pytest.mark.parametrize(("mode", "state"), [(0o600, "ok"), (0o644, "warning")])
def test_a_configuration_that_others_can_read_is_warned_of(
    mode: int, state: str, tmp_path: Path, command: Command, plant: Plant
) -> None:
    """The file's place, rights and owner are told; rights for everybody with the command that takes them away."""
    file = tmp_path / ".keeper" / "gateway-config.json"
    file.parent.mkdir()
    file.write_text(json.dumps(plant.keeper.config()))
    file.chmod(mode)
    result = command("doctor", environment=plant.wire.environment(), home=str(tmp_path))

    line = next(line for line in result.stdout.splitlines() if "Secrets Manager configuration" in line)
    assert line.startswith(state)
    assert str(file) in line
    assert (f"chmod 600 {file}" in line) == (state == "warning")
    assert 0 == result.returncode


@pytest.mark.parametrize(
    ("header", "ahead"),
    [
        ("Sun, 22 Nov 2026 10:00:00 GMT", timedelta(seconds=-0.5)),
        ("Sun, 22 Nov 2026 09:58:00 GMT", timedelta(seconds=119.5)),
        ("Sun, 22 Nov 2026 10:02:00 GMT", timedelta(seconds=-120.5)),
        ("soon", None),
        (None, None),
    ],
)
def test_clocks_are_compared_by_the_date_header(header: str | None, ahead: timedelta | None) -> None:
    """How far this host is ahead of the server, to half a second; nothing where the server does not say."""
    assert ahead == clock(header, datetime(2026, 11, 22, 10, tzinfo=timezone.utc))


# -- through the Gateway --------------------------------------------------------------------------


def test_diagnose_tells_through_the_gateway_what_a_script_sees(script: Script, plant: Plant) -> None:
    """Interpreter, user, directory and the names of variables; nobody is asked, nothing is changed, exit 0."""
    plant.set_field("diagnose", "True")
    result = script.run(plant, environment={"PLANT_TOKEN": "a-value-nobody-may-see"})

    assert (0, "") == (result.returncode, result.stderr)
    lines = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert "Python 3." in lines["Interpreter"]
    assert "keeper-secrets-manager-core 1" in lines["Packages"]
    assert {"User", "Directory", "Script", "Encoding", "Virtualenv"} <= set(lines)
    assert {"PLANT_TOKEN", "HTTPS_PROXY", "KSM_CONFIG"} <= set(lines["Variables"].split(", "))
    assert "a-value-nobody-may-see" not in result.stdout
    assert [] == plant.wire.log
    assert_silent(plant, result)


def test_diagnose_is_refused_like_any_wrong_flag(script: Script, plant: Plant) -> None:
    """A value that is neither true nor false does not pass for one of them."""
    plant.set_field("diagnose", "perhaps")

    assert 2 == script.run(plant).returncode
