"""The `aws` command, unmodified, against the sandbox's Secrets Manager."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.clock import Clock
from sandbox.services.aws import Aws
from sandbox.wire import Wire
from tests.sandbox.foreign.conftest import Json, Run, answer


@pytest.fixture
def aws() -> Aws:
    """Make an account."""
    return Aws(Clock())


@pytest.fixture
def command(aws: Aws, run: Run, tmp_path: Path) -> Iterator[Callable[..., Json]]:
    """Return the command for Secrets Manager, as a user who may do everything: it gives what the command wrote."""
    key_id, secret = aws.add_identity("rotation")
    wire = Wire(tmp_path)
    wire.serve(aws)
    wire.start()
    environment = {
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_DEFAULT_OUTPUT": "json",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    yield lambda *arguments: answer(run(wire, "aws", "secretsmanager", *arguments, environment=environment))
    wire.stop()


def test_a_secret_is_described_and_given_a_version(aws: Aws, command: Callable[..., Json]) -> None:
    """The version that the command puts is the current one, the one before is the previous."""
    aws.add_secret("plant/key", "old")

    put = command("put-secret-value", "--secret-id", "plant/key", "--secret-string", "new")
    described = command("describe-secret", "--secret-id", "plant/key")
    got = command("get-secret-value", "--secret-id", "plant/key", "--version-stage", "AWSPREVIOUS")

    assert "new" == aws.value("plant/key")
    assert ["AWSCURRENT"] == described["VersionIdsToStages"][put["VersionId"]]
    assert "old" == got["SecretString"]
