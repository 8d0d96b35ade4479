"""Calls to AWS Secrets Manager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pam_scripts.core import http
from pam_scripts.logins import aws_client
from pam_scripts.logins.aws import Identity
from pam_scripts.stores.aws_secrets_manager.refusals import SYSTEM, refusal_of


def _is_answer(answer: Mapping[str, Any]) -> bool:
    """Say whether an answer names the secret, or is the list of them: all that is read here does."""
    return bool(answer.get("ARN")) or isinstance(answer.get("SecretList"), list)


_SERVICE = aws_client.Service(SYSTEM, "secretsmanager", "field 'aws_secret_id'", refusal_of, _is_answer)


class Client(aws_client.Client):
    """Secrets Manager in one region."""

    def __init__(self, region: str, identity: Identity, session: http.Session) -> None:
        super().__init__(_SERVICE, region, identity, session)
