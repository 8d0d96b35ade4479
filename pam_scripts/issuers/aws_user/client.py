"""Calls to IAM, of which a partition has one, and to STS, of which each region has one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from pam_scripts.core.errors import ApiError
from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.issuers.aws_user.refusals import SYSTEM, refusal_of
from pam_scripts.logins import aws
from pam_scripts.logins.aws_client import Client, Service
from pam_scripts.rotation.roles import Credential

_PAGE = 100
_ASKED_BY = "rotate_aws_access_key"
# The asked-for part of each answer; a web page has none of them.
_PARTS = (
    *("User", "AccessKeyMetadata", "AccessKey", "AccessKeyLastUsed", "EvaluationResults"),
    "Arn",
)


def iam_host(region: str) -> str:
    """Return the one host of IAM for the partition that a region is in.

    https://docs.aws.amazon.com/general/latest/gr/iam-service.html
    """
    if region.startswith("cn-"):
        return "iam.cn-north-1.amazonaws.com.cn"
    return "iam.us-gov.amazonaws.com" if region.startswith("us-gov-") else "iam.amazonaws.com"


def sts_host(region: str) -> str:
    """Return the host of STS in a region."""
    return aws.host("sts", region)


@dataclass(frozen=True, repr=False)
class Caller:
    """Whose an access key is. arn: of a user, of a role's session, or of the account's root."""

    arn: str
    user_id: str

    @property
    def policy_source(self) -> str:
        """The ARN of whom policies are attached to; empty where there is none."""
        role = re.fullmatch(r"(arn:[a-z-]+):sts::(\d+):assumed-role/([^/]+)/.*", self.arn)
        if role:
            return f"{role[1]}:iam::{role[2]}:role/{role[3]}"
        return self.arn if ":user/" in self.arn else ""


@dataclass(frozen=True, repr=False)
class AccessKey:
    """An access key as IAM lists it."""

    id: str
    active: bool
    created_at: datetime


def _is_answer(answer: Mapping[str, Any]) -> bool:
    about = answer.get("ResponseMetadata")
    # What has nothing to tell is answered with the request's id alone.
    return any(part in answer for part in _PARTS) or (isinstance(about, Mapping) and bool(about.get("RequestId")))


class Iam:
    """IAM and STS, asked as one identity."""

    def __init__(self, region: str, identity: aws.Identity, session: Session) -> None:
        self._region, self._session = region, session
        self._service = Service(SYSTEM, "iam", _ASKED_BY, refusal_of, _is_answer)
        self._client = self._with(identity)
        self._identity = identity

    def act_as(self, identity: aws.Identity) -> None:
        """Use another access key from now on."""
        self._client, self._identity = self._with(identity), identity

    def who(self, identity: aws.Identity | None = None, action: str = "ask whose the access key is") -> Caller:
        """Return whose an access key is, the one in use where none is given: proof that it logs in."""
        service = Service(SYSTEM, "sts", _ASKED_BY, refusal_of, lambda answer: bool(answer.get("Arn")))
        client = Client(service, self._region, identity or self._identity, self._session, sts_host(self._region))
        answer = client.ask(action, "get_caller_identity")
        return Caller(str(answer["Arn"]), str(answer.get("UserId") or ""))

    def user(self, name: str) -> Caller:
        """Return a user's ARN and id."""
        action = f"read user {name}"
        found = self._part(self._client.ask(action, "get_user", UserName=name), "User", action)
        return Caller(_text(found, "Arn", action), _text(found, "UserId", action))

    def keys(self, name: str) -> list[AccessKey]:
        """List a user's access keys."""
        action, found = f"list access keys of user {name}", list[AccessKey]()
        options: dict[str, Any] = {"UserName": name, "MaxItems": _PAGE}
        while True:
            page = self._client.ask(action, "list_access_keys", **options)
            listed = page.get("AccessKeyMetadata")
            if not isinstance(listed, list):
                raise ApiError(SYSTEM, action, "the answer is not a list; is a proxy in the way?")
            found += [_read(item, action) for item in listed]
            if not page.get("IsTruncated"):
                return found
            options["Marker"] = str(page.get("Marker"))

    def last_used(self, key_id: str) -> datetime | None:
        """Return when a key was last used, None for never."""
        action = f"ask when access key {key_id} was last used"
        answer = self._client.ask(action, "get_access_key_last_used", AccessKeyId=key_id)
        told = self._part(answer, "AccessKeyLastUsed", action).get("LastUsedDate")
        return _moment(told) if isinstance(told, datetime) else None

    def create(self, name: str) -> tuple[AccessKey, Credential]:
        """Make an access key; the answer carries its secret, this once."""
        action = f"create access key for user {name}"
        made = self._part(self._client.ask(action, "create_access_key", UserName=name), "AccessKey", action)
        secret = Secret(_text(made, "SecretAccessKey", action))
        key = _read(made, action)
        return key, Credential(key.id, secret)

    def switch(self, name: str, key_id: str, *, active: bool) -> None:
        """Make a key active, or inactive."""
        word = "Active" if active else "Inactive"
        self._client.ask(
            f"make access key {key_id} {word.lower()}",
            "update_access_key",
            UserName=name,
            AccessKeyId=key_id,
            Status=word,
        )

    def delete(self, name: str, key_id: str) -> None:
        """Delete a key."""
        self._client.ask(f"delete access key {key_id}", "delete_access_key", UserName=name, AccessKeyId=key_id)

    def missing(self, caller: Caller, arn: str, actions: Sequence[str]) -> list[str]:
        """Return those actions on a user that the policies of the one in use do not allow."""
        answer = self._client.ask(
            "ask what is allowed",
            "simulate_principal_policy",
            PolicySourceArn=caller.policy_source,
            ActionNames=list(actions),
            ResourceArns=[arn],
        )
        results = answer.get("EvaluationResults") or []
        return [str(one.get("EvalActionName")) for one in results if one.get("EvalDecision") != "allowed"]

    def _with(self, identity: aws.Identity) -> Client:
        return Client(self._service, self._region, identity, self._session)

    def _part(self, answer: Mapping[str, Any], name: str, action: str) -> Mapping[str, Any]:
        found = answer.get(name)
        if not isinstance(found, Mapping):
            raise ApiError(SYSTEM, action, "the answer is not readable")
        return found


def _read(item: Mapping[str, Any], action: str) -> AccessKey:
    created = item.get("CreateDate")
    if not isinstance(created, datetime):
        raise ApiError(SYSTEM, action, "an access key in the answer has no time")
    return AccessKey(_text(item, "AccessKeyId", action), item.get("Status") == "Active", _moment(created))


def _text(item: Mapping[str, Any], name: str, action: str) -> str:
    found = item.get(name)
    if not isinstance(found, str) or not found.strip():
        raise ApiError(SYSTEM, action, f"the answer has no {name}")
    return found


def _moment(told: datetime) -> datetime:
    return told.astimezone(timezone.utc)
