"""AWS Secrets Manager: what AWS says of a secret and its versions; never a secret's value.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html
https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.gateway.specs import MirrorQuery
from pam_scripts.rotation.seen import SeenMirror, SeenSecret, Trouble
from pam_scripts.rotation.shape import ROTATION_TAG
from pam_scripts.stores.aws_secrets_manager import LABEL, Place
from pam_scripts.stores.aws_secrets_manager.client import Client
from pam_scripts.stores.aws_secrets_manager.mirror import CURRENT, Mark, rotation_in, why_not_written
from pam_scripts.stores.aws_secrets_manager.refusals import MANAGED, REPLICA, ROTATED

# The most that AWS puts on one page; and how many secrets are asked for one by one without looking for a list, since
# an account may have any number of others.
_PAGE, _FEW = 100, 3

# The audit's finding for a secret that could be asked, and that no rotation can write.
_NOT_WRITTEN = {REPLICA: "vault-replica", MANAGED: "vault-managed", ROTATED: "vault-rotated"}


def survey(queries: Sequence[MirrorQuery], session: Session, say: Callable[[str], None]) -> list[SeenMirror]:
    """Return the secret that each mirror is, by its name in small letters; why it could not be asked, if it could not.

    A secret without a value counts as none. That of another rotation has its id, and the tag of whom it is for, where
    that is not `another target`. Many are looked for in AWS's list, by pages; those that are not in it, or all where
    the login may not list, are asked for one by one.
    """
    places = [query.group for query in queries if isinstance(query.group, Place)]
    region, identity = places[0].region, places[0].identity
    try:
        client = Client(region, identity, session)
    except PamScriptError as error:
        return [_unreadable(error)] * len(places)
    listed = _listed(client, places, session, say) if len(places) > _FEW else {}
    seen = []
    for number, place in enumerate(places, 1):
        if place.secret_id not in listed:
            say(f"aws {region}: DescribeSecret, {number} of {len(places)}")
        seen.append(_seen(client, place, session, listed.get(place.secret_id)))
    return seen


def link(query: MirrorQuery) -> str:
    """Return the secret's address in AWS's console; empty for an ARN, and for China and governments."""
    place = query.group
    assert isinstance(place, Place)  # noqa: S101 - for the type checker: this module is asked for AWS's alone
    if place.secret_id.startswith("arn:") or place.region.startswith(("cn-", "us-gov-")):
        return ""
    region, name = place.region, quote(place.secret_id, safe="")
    return f"https://{region}.console.aws.amazon.com/secretsmanager/secret?name={name}&region={region}"


def _listed(
    client: Client, places: Sequence[Place], session: Session, say: Callable[[str], None]
) -> dict[str, Mapping[str, Any]]:
    """Return what AWS's list says of the secrets that are named by these, by what names them; nothing where refused."""
    wanted, found, looked = {place.secret_id for place in places}, dict[str, Mapping[str, Any]](), 0
    options: dict[str, str | int | bool] = {"MaxResults": _PAGE, "IncludePlannedDeletion": True}
    while len(found) < len(wanted):
        try:
            page = retrying(session.deadline, lambda: client.ask("list the secrets", "list_secrets", **options))
        except PamScriptError:
            # Whatever it is, asking for each by itself says it of each.
            break
        entries = [one for one in page.get("SecretList") or [] if isinstance(one, Mapping)]
        looked += len(entries)
        say(f"aws {client.region}: ListSecrets, {looked} secrets")
        for one in entries:
            for name in {str(one.get("Name")), str(one.get("ARN"))} & wanted:
                found[name] = {**one, "VersionIdsToStages": one.get("SecretVersionsToStages")}
        if not page.get("NextToken"):
            break
        options["NextToken"] = str(page["NextToken"])
    return found


def _seen(client: Client, place: Place, session: Session, described: Mapping[str, Any] | None) -> SeenMirror:
    name = place.secret_id.lower()
    try:
        described = described or retrying(session.deadline, lambda: _describe(client, place.secret_id))
        if described.get("DeletedDate"):
            return SeenMirror(deleted=frozenset({name}))
        if why := why_not_written(described, place.secret_id, place.region):
            refusal, error = why
            return _unreadable(error, _NOT_WRITTEN[refusal])
    except ApiError as error:
        if error.name == "ResourceNotFoundException":
            return SeenMirror()
        return _unreadable(error)
    except PamScriptError as error:
        return _unreadable(error)
    stages = described.get("VersionIdsToStages") or {}
    current = next((version for version, labels in stages.items() if CURRENT in labels), "")
    return SeenMirror({name: SeenSecret(enabled=True, tags=_tags(place, current), expires_at=None)} if current else {})


def _describe(client: Client, secret_id: str) -> Mapping[str, Any]:
    return client.ask(f"describe the secret {secret_id}", "describe_secret", SecretId=secret_id)


def _unreadable(error: PamScriptError, code: str = "vault-unreadable") -> SeenMirror:
    way_out = error.next_step or f"check '{LABEL}' and the region"
    return SeenMirror(trouble=Trouble(code, error.cause, way_out))


def _tags(place: Place, version: str) -> Mapping[str, str]:
    """Return what a version's id says, as the tags of a secret elsewhere do."""
    is_ours = Mark(place.owner_tag, place.owner).is_on(version)
    if is_ours is None:
        return {}
    return {ROTATION_TAG: rotation_in(version), place.owner_tag: place.owner if is_ours else "another target"}
