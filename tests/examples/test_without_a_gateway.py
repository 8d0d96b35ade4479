"""The examples for hosts without a Gateway: code runs against the sandbox, settings meet their host's schema."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from pam_scripts.cli import main as pam_scripts
from sandbox.plant import Plant, plant_on_loopback
from tests.cli.conftest import attach
from tests.conftest import ROOT
from tests.sandbox.foreign.conftest import INSTALLED
from tests.support.invariants import assert_true_state, live_key_ids

EXAMPLES = ROOT / "examples" / "without_a_gateway"
WORKFLOW = EXAMPLES / "github_actions" / "rotate.yml"
PIPELINE = EXAMPLES / "azure_devops" / "azure-pipelines.yml"
JENKINS = EXAMPLES / "jenkins" / "Jenkinsfile"
MANIFESTS = sorted((EXAMPLES / "kubernetes").glob("*.yaml"))
DOCKERFILE = (EXAMPLES / "container" / "Dockerfile").read_text("utf-8")
TOKEN = "a.signed.token"


@pytest.fixture
def plant() -> Iterator[Plant]:
    """Return a plant whose record is due, and names what is attached to its script."""
    with plant_on_loopback() as one:
        attach(one, one.user_uid, one.attached)
        # Its key has no end that the record knows of: it is as old as it can be.
        one.set_field("rotated_at", "2020-01-01T00:00:00Z")
        yield one


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """Return a workspace with the virtualenv's command in it, as the step before leaves it."""
    (tmp_path / ".rotate" / "bin").mkdir(parents=True)
    program = tmp_path / ".rotate" / "bin" / "pam-scripts"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m pam_scripts "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def shell(
    text: str, workspace: Path, environment: dict[str, str], seconds: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run a step's shell for so many seconds at most, with the workspace's command in the path."""
    path = os.pathsep.join((str(workspace / ".rotate" / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]))
    return subprocess.run(
        ["bash", "-eu", "-c", text],  # noqa: S607 - from the path
        env={"PATH": path, "HOME": str(workspace), **environment},
        cwd=workspace,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def assert_rotated(plant: Plant) -> None:
    """Assert that the record's key is a new one, and the only one alive."""
    assert plant.old_key_id != assert_true_state(plant)


# -- Azure Functions --------------------------------------------------------------------------------


@pytest.fixture
def function_app(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the example's module, as the worker loads it."""
    monkeypatch.syspath_prepend(str(ROOT))
    spec = importlib.util.spec_from_file_location("function_app", EXAMPLES / "azure_functions" / "function_app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def the_function(module: ModuleType) -> Any:  # noqa: ANN401 - azure-functions has its own types
    """Return the one function that the app has, as the worker finds it."""
    (function,) = module.app.get_functions()
    return function


def test_the_function_app_has_one_timer_that_no_deployment_starts(function_app: ModuleType) -> None:
    """The worker finds one function with a timer of its own, at no full hour."""
    trigger = the_function(function_app).get_trigger()

    assert "timerTrigger" == trigger.type
    assert not trigger.run_on_startup
    assert "0 17 3 * * 1" == trigger.schedule


def test_the_function_rotates_what_is_due_and_logs_each_line(
    function_app: ModuleType, plant: Plant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its entry, called as the worker does, rotates the record; no secret value is in the log."""
    for name, value in plant.environment().items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.INFO)

    the_function(function_app).get_user_function()(_timer())

    assert_rotated(plant)
    assert "rotated" in caplog.text
    assert [] == [value for value in plant.secrets() if value in caplog.text]


def test_a_function_whose_rotation_fails_is_one_that_failed(
    function_app: ModuleType, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raises, which is what an alert on failed invocations goes by."""
    for name, value in plant.environment().items():
        monkeypatch.setenv(name, value)
    plant.set_field("expiry_days", "soon")

    with pytest.raises(RuntimeError, match="ended with status 2"):
        the_function(function_app).get_user_function()(_timer())

    assert {plant.old_key_id} == live_key_ids(plant)


def _timer() -> Any:  # noqa: ANN401 - azure-functions has its own types
    from azure.functions.timer import TimerRequest  # noqa: PLC0415 - whoever asks has it

    return TimerRequest(past_due=True)


def test_the_function_apps_package_is_this_version() -> None:
    """What it is deployed with names the wheel that this tree makes, and its host's settings can be read."""
    from pam_scripts import __version__  # noqa: PLC0415 - only here

    wanted = (EXAMPLES / "azure_functions" / "requirements.txt").read_text("utf-8")
    assert f"./pam_scripts-{__version__}-py3-none-any.whl" in wanted
    assert "00:10:00" == json.loads((EXAMPLES / "azure_functions" / "host.json").read_text("utf-8"))["functionTimeout"]


# -- what a shell does ------------------------------------------------------------------------------


def test_the_step_of_github_rotates_what_is_due(plant: Plant, command: Path) -> None:
    """Its command rotates the record, and leaves the report that the next step keeps."""
    (step,) = [each for each in _steps(WORKFLOW) if each.get("name") == "Rotate"]

    done = shell(step["run"], command, {**plant.environment(), "DUE": "14"})

    assert 0 == done.returncode, done.stderr
    assert_rotated(plant)
    assert (command / "report.html").exists()


def test_githubs_word_is_masked_before_it_is_kept_for_the_owner_alone(command: Path) -> None:
    """Asked for with the runner's own token, blotted out first, written to a file that others cannot read."""
    (step,) = [each for each in _steps(WORKFLOW) if "word" in each.get("name", "")]
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers['Authorization']}")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"value": TOKEN}).encode())

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = shell(
            step["run"],
            command,
            {
                "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{server.server_port}/token?api-version=2",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "the-runners-own",
                "RUNNER_TEMP": str(command),
                "GITHUB_ENV": str(command / "environment"),
                "AZURE_CLIENT_ID": "client",
                "AZURE_TENANT_ID": "tenant",
            },
        )
    finally:
        server.shutdown()
        server.server_close()

    assert 0 == done.returncode, done.stderr
    assert ["/token?api-version=2&audience=api://AzureADTokenExchange Bearer the-runners-own"] == asked
    assert f"::add-mask::{TOKEN}\n" == done.stdout
    kept = command / "federated-token"
    assert TOKEN == kept.read_text("utf-8")
    assert 0o600 == stat.S_IMODE(kept.stat().st_mode)
    environment = (command / "environment").read_text("utf-8").split()
    assert [f"AZURE_FEDERATED_TOKEN_FILE={kept}", "AZURE_CLIENT_ID=client", "AZURE_TENANT_ID=tenant"] == environment


def test_the_step_of_azure_devops_rotates_as_the_connection(plant: Plant, command: Path) -> None:
    """Its script keeps the connection's token for itself alone, and rotates the record."""
    (step,) = [each for each in _pipeline_steps() if each.get("task") == "AzureCLI@2"]
    assert {"KSM_CONFIG": "$(KSM-CONFIG)"} == step["env"]

    done = shell(
        step["inputs"]["inlineScript"],
        command,
        {
            **plant.environment(),
            "servicePrincipalId": "client",
            "tenantId": "tenant",
            "idToken": TOKEN,
            "AGENT_TEMPDIRECTORY": str(command),
            "BUILD_ARTIFACTSTAGINGDIRECTORY": str(command),
        },
    )

    assert 0 == done.returncode, done.stderr
    assert_rotated(plant)
    assert 0o600 == stat.S_IMODE((command / "federated-token").stat().st_mode)
    assert TOKEN not in done.stdout + done.stderr


def test_the_step_of_jenkins_rotates_by_the_file_it_is_given(plant: Plant, command: Path) -> None:
    """Its shell rotates the record with the configuration in the secret file."""
    install, rotate = re.findall(r"sh '''\n(.*?)'''", JENKINS.read_text("utf-8"), re.DOTALL)
    assert "-m venv .rotate" in install
    environment = dict(plant.environment())
    given = command / "ksm-config"
    given.write_text(environment.pop("KSM_CONFIG"), encoding="utf-8")

    done = shell(rotate, command, {**environment, "PAM_SCRIPTS_KSM_CONFIG": str(given)})

    assert 0 == done.returncode, done.stderr
    assert_rotated(plant)


def test_a_part_of_the_indexed_job_takes_its_own_device_and_its_own_records(plant: Plant, command: Path) -> None:
    """The four parts together rotate the record once, each with the configuration of its index."""
    (job,) = [each for each in _documents(EXAMPLES / "kubernetes" / "parts.yaml") if each["kind"] == "Job"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    environment = dict(plant.environment())
    text = environment.pop("KSM_CONFIG")
    script = container["args"][0].replace("/etc/ksm", str(command)).replace("/opt/pam-scripts/bin/", "")
    for index in range(job["spec"]["completions"]):
        (command / f"config-{index}.json").write_text(text, encoding="utf-8")

    parts = [
        shell(script, command, {**environment, "JOB_COMPLETION_INDEX": str(index)})
        for index in range(job["spec"]["completions"])
    ]

    assert [0] * len(parts) == [part.returncode for part in parts], [part.stderr for part in parts]
    assert 1 == len([part for part in parts if "rotated" in part.stdout + part.stderr])
    assert_rotated(plant)


@pytest.mark.thorough
@pytest.mark.timeout(500)
def test_jenkins_and_the_image_install_what_they_start(plant: Plant, tmp_path: Path) -> None:
    """The install step really makes the virtualenv, from what the image copies; its command then rotates."""
    if not (INSTALLED / ".ready").exists():
        pytest.skip("takes most of a minute, and PyPI: where `make foreign` was run")
    install, rotate = re.findall(r"sh '''\n(.*?)'''", JENKINS.read_text("utf-8"), re.DOTALL)
    for name in _copied():
        target = tmp_path / name
        if (ROOT / name).is_dir():
            subprocess.run(["cp", "-r", ROOT / name, target], check=True)  # noqa: S607 - from the path
        else:
            target.write_bytes((ROOT / name).read_bytes())

    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))}
    done = shell(install, tmp_path, kept, seconds=400)
    assert 0 == done.returncode, done.stderr
    done = shell(rotate.replace("--html report.html", ""), tmp_path, dict(plant.environment()))

    assert 0 == done.returncode, done.stderr
    assert_rotated(plant)


# -- what is read by others -------------------------------------------------------------------------


def test_the_image_copies_what_is_there_and_starts_what_our_parser_takes() -> None:
    """Each file that it copies is in the tree, and what it starts by default is a command line of ours."""
    assert [] == [name for name in _copied() if not (ROOT / name).exists()]
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
    (default,) = re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
    assert ["/opt/pam-scripts/bin/pam-scripts"] == json.loads(entry)
    pam_scripts.parser().parse_args(json.loads(default))
    assert "USER 10001:10001" in DOCKERFILE


def test_the_cronjob_starts_what_our_parser_takes() -> None:
    """Its arguments are a command line of ours, and no two of its runs meet."""
    (cron,) = [each for each in _documents(EXAMPLES / "kubernetes" / "cronjob.yaml") if each["kind"] == "CronJob"]
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]

    pam_scripts.parser().parse_args(container["args"])
    assert "Forbid" == cron["spec"]["concurrencyPolicy"]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_takes_the_manifests(manifest: Path) -> None:
    """Each object meets the schema of Kubernetes, with no field that it does not know."""
    for document in _documents(manifest):
        # In an environment of its own: it brings 100 MB of schemas.
        done = _foreign(
            "-c",
            "import json, sys, kubernetes_validate as k; k.validate(json.load(sys.stdin), k.latest_version(), True)",
            given=json.dumps(document),
        )
        assert 0 == done.returncode, done.stderr


@pytest.mark.parametrize(("schema", "path"), [("github-workflows", WORKFLOW), ("azure-pipelines", PIPELINE)], ids=str)
def test_github_and_azure_devops_take_their_files(schema: str, path: Path) -> None:
    """Each meets the schema that its host publishes."""
    # The schema of Azure DevOps has patterns that only Python's own reader of them takes.
    how = ("--regex-variant", "python", "--builtin-schema", f"vendor.{schema}")
    done = _foreign("-m", "check_jsonschema", *how, str(path))

    assert 0 == done.returncode, done.stdout + done.stderr


def _foreign(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    if not (INSTALLED / ".ready").exists():
        pytest.skip("the schemas are not installed here; `make foreign` installs them")
    return subprocess.run(
        [INSTALLED / "python" / "bin" / "python", *arguments], input=given, capture_output=True, text=True, check=False
    )


def _copied() -> list[str]:
    """Return the files that the image is made of."""
    return [name for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()]


def _documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def _steps(path: Path) -> list[dict[str, Any]]:
    (workflow,) = _documents(path)
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def _pipeline_steps() -> list[dict[str, Any]]:
    (pipeline,) = _documents(PIPELINE)
    return [step for job in pipeline["jobs"] for step in job["strategy"]["runOnce"]["deploy"]["steps"]]
