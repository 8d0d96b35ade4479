"""The Data Lab Function of the examples, as its notebook file, called from outside while its keys are rotated."""

from __future__ import annotations

import importlib
import inspect
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from sandbox.data_lab import DataLab
from sandbox.plant import SEEQ_HOST, Plant
from sandbox.services.seeq import Worksheet
from tests.support.invariants import Script, assert_rotates
from tests.test_data_lab import AWS_SECRET, EXAMPLE, GET, blocks, hide, hide_aws

PROJECT = "75744496-4887-4531-93CD-88DD03524544"
BOOK, SHEET, STEP = (f"0000000{number}-0000-0000-0000-000000000000" for number in (1, 2, 3))
S3_SECRET = "plant/exports-writer"
WORKSHEET = Worksheet(
    BOOK,
    SHEET,
    STEP,
    int(datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp() * 1000),
    int(datetime(2026, 1, 2, tzinfo=timezone.utc).timestamp() * 1000),
    {
        "S1": ("Temperature", {"2025-12-31T00:00:00Z": 1.0, "2026-01-01T06:00:00Z": 21.5}),
        "S2": ("Pressure", {"2026-01-01T07:00:00Z": 3.0}),
    },
)
CSV = "time,signal,value\n2026-01-01T06:00:00Z,Temperature,21.5\n2026-01-01T07:00:00Z,Pressure,3.0\n"

# A program outside that keeps running: it imports the example once, and calls an endpoint for every line it is sent.
CALLER = """
import json, sys
from call_function import Caller
from seeq_credential import SeeqKey
caller = Caller(sys.argv[1], SeeqKey.from_file())
for line in sys.stdin:
    try:
        said = caller.call(*json.loads(line))
    except Exception as error:
        answer = getattr(error, "response", None)
        said = str(error) if answer is None else answer.text
    print(json.dumps(said), flush=True)
"""


class Outside:
    """The Function's project, the program outside that calls it, and the bucket."""

    def __init__(self, plant: Plant, directory: Path) -> None:
        self.plant = plant
        self.bucket = f"plant-exports-{plant.aws.account_id}"
        project, caller = directory / "project", directory / "caller"
        for home in (project, caller):
            shutil.copytree(EXAMPLE, home, ignore=shutil.ignore_patterns("__pycache__"))
            hide_aws(plant, home)
        notebook = project / "S3DataUpload.ipynb"
        text = notebook.read_text(encoding="utf-8").replace("seeq.example.com", SEEQ_HOST)
        notebook.write_text(text.replace("plant-exports", self.bucket), encoding="utf-8")
        reader, secret = plant.aws.add_identity("exports-reader")
        plant.aws.allow_only(reader, GET, name=S3_SECRET)
        plant.aws.add_secret(S3_SECRET, "{}")
        plant.s3.add_bucket(self.bucket)
        settings = dict(aws_access_key_id=reader, aws_secret_access_key=secret, region_name="eu-central-1")  # noqa: C408 - AWS's names, as they stand in the file
        hide(project, "AWS auth", {**settings, "secret_id": S3_SECRET}).rename(project / ".s3_auth.ini")
        hide_aws(plant, project)
        environment = {**plant.wire.environment(), "AWS_CA_BUNDLE": str(plant.wire.ca_file)}
        self.lab = DataLab(plant.seeq.app, PROJECT, project, environment)
        plant.wire.add(SEEQ_HOST, self.lab.app)
        plant.seeq.add_worksheet(WORKSHEET)
        at_home = {"HOME": str(caller), "USERPROFILE": str(caller), "PYTHONPATH": str(caller)}
        self.caller = subprocess.Popen(
            [sys.executable, "-c", CALLER, f"https://{SEEQ_HOST}"],
            env={**environment, **at_home},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def rotate_s3(self, old: str = "") -> str:
        """Give the identity of the bucket a new key, stored before the old one dies; return the new one's id."""
        key_id, secret = self.plant.aws.add_identity("exports-writer")
        self.plant.aws.allow_only(key_id, "s3:GetObject", "s3:PutObject", name=self.bucket)
        self.plant.aws.put(S3_SECRET, json.dumps({"access_key_id": key_id, "secret_access_key": secret}))
        if old:
            self.plant.aws.remove_identity(old)
        return key_id

    def call(self, endpoint: str, **args: str) -> str:
        """Have the program outside call an endpoint; return what it was told."""
        assert self.caller.stdin
        assert self.caller.stdout
        self.caller.stdin.write(json.dumps([PROJECT, "S3DataUpload", endpoint, args]) + "\n")
        self.caller.stdin.flush()
        return str(json.loads(self.caller.stdout.readline()))

    def stop(self) -> str:
        """End both processes; return all that they wrote to stderr."""
        return self.caller.communicate(timeout=60)[1] + self.lab.stop()


@pytest.fixture
def outside(plant: Plant, tmp_path: Path) -> Iterator[Outside]:
    """Return the project and its caller, with a mirror that both read."""
    held = json.dumps({"access_key_id": plant.old_key_id, "access_key_password": plant.old_password})
    plant.add_aws_mirror(AWS_SECRET, held)
    outside = Outside(plant, tmp_path)
    yield outside
    if outside.caller.poll() is None:
        outside.stop()


WHERE = {"workbook_id": BOOK, "worksheet_id": SHEET}
FILE = {**WHERE, "file_name": "day.csv"}


def test_every_endpoint_works_before_and_after_both_keys_are_rotated(
    plant: Plant, script: Script, outside: Outside
) -> None:
    """The caller's session, the Function's key and the bucket's key all die between two calls: nobody notices."""
    first = outside.rotate_s3()
    shown = [{"id": "S1", "name": "Temperature"}, {"id": "S2", "name": "Pressure"}]
    size = {"object": f"{BOOK}/{SHEET}/day.csv", "bytes": len(CSV)}
    told = []
    for old in ("", first):
        if old:
            assert_rotates(script, plant)
            outside.rotate_s3(old)
            plant.wire.log.clear()
        told.append(outside.call("hello"))
        assert shown == json.loads(outside.call("worksheet/items", **WHERE))
        assert size == json.loads(outside.call("upload", **FILE))
        told.append(outside.call("download", **FILE))

    assert ["hello from Data Lab", CSV] * 2 == told
    assert 1 == sum(one.status == 401 for one in plant.wire.log if one.path.startswith("/data-lab"))
    assert 1 == sum(one.status == 401 for one in plant.wire.log if one.path == "/api/auth/login")
    assert 1 == sum(one.status == 403 for one in plant.wire.log if ".s3." in one.host)
    _assert_uploads_every_page(plant, outside)
    assert not any(value in outside.stop() + "".join(told) for value in plant.secrets())


def _assert_uploads_every_page(plant: Plant, outside: Outside) -> None:
    """Check that of 20,001 samples, which are read in three pages, none is left out and none comes twice."""
    begin = datetime(2026, 1, 1, tzinfo=timezone.utc)
    times = [(begin + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ") for second in range(20_001)]
    many = {time: float(number) for number, time in enumerate(times)}
    plant.seeq.add_worksheet(replace(WORKSHEET, shown={"S1": ("Temperature", many)}))
    plant.wire.log.clear()

    outside.call("upload", **FILE)
    rows = outside.call("download", **FILE).splitlines()
    assert [f"{time},Temperature,{number}" for time, number in many.items()] == rows[1:]
    assert 3 == sum("/samples" in one.path for one in plant.wire.log)


def test_a_caller_reaches_no_other_object_and_no_key(plant: Plant, outside: Outside) -> None:
    """A file name that leads elsewhere is refused before S3 is asked; a refused key is told once, by its id."""
    key_id = outside.rotate_s3()
    plant.aws.remove_identity(key_id)

    elsewhere = outside.call("download", **{**WHERE, "file_name": "../../other.csv"})
    refused = outside.call("download", **FILE)

    assert "ValueError: file_name is letters" in elsewhere
    assert f"S3 refuses the access key {key_id}, which is the one that is stored" in refused
    assert 1 == len([one for one in plant.wire.log if ".s3." in one.host])
    assert not any(value in outside.stop() + elsewhere + refused for value in plant.secrets())


def test_a_right_that_is_missing_is_not_taken_for_a_refused_key(plant: Plant, outside: Outside) -> None:
    """AccessDenied is passed on: another look at the secret would not help."""
    plant.aws.deny(outside.rotate_s3(), "s3:GetObject")

    said = outside.call("download", **FILE)

    assert "AccessDenied" in said
    assert 1 == len([one for one in plant.wire.log if ".s3." in one.host])


def test_the_documents_calls_are_of_endpoints_that_the_notebook_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command line of the page is one that the caller takes, for an endpoint of the notebook that it names."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    caller = importlib.import_module("call_function")
    notebook = (EXAMPLE / "S3DataUpload.ipynb").read_text(encoding="utf-8")
    (block,) = blocks("bash")
    lines = block.replace("\\\n", "").splitlines()
    for line in lines:
        python, file, *words = shlex.split(line)
        called = inspect.signature(caller.main).bind(*words).arguments
        assert ("python", "call_function.py", "S3DataUpload") == (python, file, called["notebook"])
        assert f"# GET /{called['endpoint']}" in notebook
        assert all("=" in pair for pair in called.get("pairs", ()))

    assert lines
