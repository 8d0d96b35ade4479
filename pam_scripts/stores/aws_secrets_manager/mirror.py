"""AWS Secrets Manager: a mirror of the credential in one secret, with the one before it as AWSPREVIOUS.

https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html

One secret is written at once, so a reader never sees a mixed pair. The secret itself is not made
here: its KMS key, policy and replicas are for whoever owns the account to choose.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pam_scripts.core.errors import ApiError, Refused
from pam_scripts.core.refusals import Refusal
from pam_scripts.core.secret import Secret
from pam_scripts.logins.aws import REGION_NAME
from pam_scripts.rotation.roles import Credential, Known, Mirror, Publication, Snapshot, Sought
from pam_scripts.stores import Adoption, not_ours
from pam_scripts.stores.aws_secrets_manager.client import Client
from pam_scripts.stores.aws_secrets_manager.refusals import DELETED, MANAGED, REPLICA, ROTATED, SYSTEM, TOO_LONG

CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"

MOST_BYTES = 65536
"""What a secret holds: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html."""

# What a secret holds that never held a credential: there is no way to take the only version away again.
_EMPTY = "{}"
_BINARY = "(binary)"
# A version's id has 64 characters at most, of which a rotation's id takes 25.
_DIGITS = 38
_ROTATION = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")


class SecretMirror(Mirror):
    """One secret.

    Its versions carry our mark in their ids, which are ours to give: they are made of the rotation's id and of whom
    the secret is for, so that they can be told from anybody else's. Tags would need another right.
    """

    def __init__(self, client: Client, secret_id: str, adoption: Adoption, owner: str) -> None:
        self._client = client
        self._id = secret_id
        self._adoption = adoption
        self._shape = adoption.shape
        self._mark = Mark(self._shape.owner_tag, owner)
        # What the look has seen: the versions' ids, that of what readers get first; and beside ours in a JSON object.
        self._versions: list[str] = []
        self._beside: Mapping[str, Any] = {}
        self._held = Snapshot({})

    @property
    def name(self) -> str:
        """The secret as messages name it."""
        return f"AWS Secrets Manager {self._id}"

    @property
    def places(self) -> Sequence[str]:
        """The one secret."""
        return [self.name]

    def parts(self, credential: Credential) -> Mapping[str, str]:
        """Return the secret's value once it holds this credential."""
        return {self._id: self._value(credential.key_id, credential.secret.reveal())}

    def examine(self) -> Snapshot:
        """Read the secret; raise Refused where it cannot be written, or the next value would be too long for it."""
        described = self._ask("describe the secret", "describe_secret")
        if described.get("DeletedDate"):
            raise DELETED.as_error(f"{SYSTEM}: secret {self._id}")
        if why := why_not_written(described, self._id, self._client.region):
            raise why[1]
        found = self._fetch(VersionStage=CURRENT)
        *_, self._beside = self._shape.split(_text(found))
        # AWS tells of those versions that have a label: what readers get, what they got before.
        self._versions = [found.get("VersionId") or "", *(described.get("VersionIdsToStages") or {})]
        self._held = self._copy(found)
        self._refuse_what_does_not_fit()
        return self._held

    def adopt(self, known: Known) -> Sequence[str]:
        """Raise Refused for a secret of another target, or that nobody has marked and nothing tells to be ours."""
        what = f"{SYSTEM}: secret {self._id}"
        owned = [self._mark.is_on(version) for version in self._versions]
        if owned[0] is False or (False in owned and True not in owned):
            raise Refused(
                f"{what} was set by a rotation of another target, not of {self._mark.owner}",
                next_step="give one of the two records another secret",
            )
        if True in owned:
            return ()
        held = self._held
        reason = self._adoption.reason(held.parts.get(self._id, ""), held.key_id, self.parts, self._id, known)
        if not reason:
            raise not_ours(what)
        return [f"{self.name} is taken over, since {reason}"]

    def read(self) -> Snapshot:
        """Read the version that readers get."""
        return self._copy(self._fetch(VersionStage=CURRENT))

    def write(self, publication: Publication) -> None:
        """Put the value as a new version, which becomes AWSCURRENT; the same rotation puts the same version."""
        for part in self.parts(publication.credential).values():
            self._put(self._beside_others(part), self._mark.of(publication.rotation_id))

    def put_back(
        self, before: Snapshot, publication: Publication | None, listed: Collection[str] | None = None
    ) -> None:
        """Make the version current again that was before, where this publication is current now.

        What another writer has put since is brought back rather than what was there before it, unless its key is
        not listed any more.
        """
        if publication is None:
            return
        written, now = self.parts(publication.credential), self.read()
        if not now.holds(written):
            return
        if before.restore_point:
            since = self._copy(self._fetch(VersionStage=PREVIOUS))
            is_dead = listed is not None and since.key_id and since.key_id not in listed
            former = before if is_dead or not since.restore_point else since
            self._ask(
                "put the secret back",
                "update_secret_version_stage",
                VersionStage=CURRENT,
                MoveToVersionId=former.restore_point,
                RemoveFromVersionId=now.restore_point,
            )
        else:
            # The same value with the same token is the same version, too.
            self._put(_EMPTY, str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._id} {publication.rotation_id} put back")))
        if self.read().holds(written):
            raise ApiError(SYSTEM, f"put back secret {self._id}", "it reads back unchanged")

    def older(self, sought: Sought) -> Callable[[], Secret]:
        """Find the value: in the version that a rotation has set, by the id that this has, or as AWSPREVIOUS.

        AWS keeps versions without a label for a day at least. What is current is looked at, too: a roll back that was
        interrupted may have been here.
        """
        stages = [self._fetch(VersionStage=stage) for stage in (PREVIOUS, CURRENT)]
        for found in (*(self._fetch(VersionId=self._mark.of(one)) for one in sought.rotations), *stages):
            text, key_id, _ = self._shape.split(_text(found))
            Secret(text)
            if self._shape.id_label and key_id == sought.key_id:
                value = Secret(str(json.loads(text)[self._shape.value_label]))
                return lambda: value
            if not self._shape.id_label and self._is_of(found, stages, sought):
                if own := self._shape.value_in(text):
                    return lambda: Secret(own)
                raise Refused(f"{self.name}: holds no text that the record's template makes of a value")
        raise Refused(f"{self.name}: has no version of it")

    def _is_of(self, found: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], sought: Sought) -> bool:
        """Say whether a version is one of those rotations', or what was there just before the one that is named."""
        version = str(found.get("VersionId") or "")
        if sought.rotations:
            return version in {self._mark.of(one) for one in sought.rotations}
        previous, current = stages
        follows = current.get("VersionId") == self._mark.of(sought.before)
        return bool(version) and found is previous and follows and not rotation_in(version)

    # Nothing is outdated: AWS keeps the version before as AWSPREVIOUS, and drops older ones by itself.

    # -- within -----------------------------------------------------------------------------------

    def _value(self, key_id: str, value: str) -> str:
        """Return what the secret holds of a credential."""
        return self._shape.combine(key_id, value) if self._shape.id_label else self._shape.form(value)

    def _beside_others(self, value: str) -> str:
        """Return a new value together with what stands beside it in a JSON object."""
        return json.dumps({**self._beside, **json.loads(value)}) if self._beside else value

    def _refuse_what_does_not_fit(self) -> None:
        sample = self._shape.sample
        size = len(self._beside_others(self._value(sample, sample)).encode())
        if size > MOST_BYTES:
            raise Refused(
                f"{SYSTEM}: put the secret {self._id}: with the new value it would have {size} bytes, and a secret "
                f"takes {MOST_BYTES}",
                next_step=TOO_LONG.way_out,
            )

    def _fetch(self, **which: str) -> dict[str, Any]:
        """Return the version with a label, or an id; nothing where there is none."""
        try:
            return self._ask("read the secret", "get_secret_value", **which)
        except ApiError as error:
            # A secret without any version; that there is a secret, `examine` has seen.
            if error.name != "ResourceNotFoundException":
                raise
            return {}

    def _copy(self, found: Mapping[str, Any]) -> Snapshot:
        text = _text(found)
        if text in ("", _EMPTY):
            return Snapshot({}, restore_point=found.get("VersionId"))
        Secret(text)
        part, key_id, _ = self._shape.split(text)
        return Snapshot({self._id: part}, key_id, "" if key_id else "a value", found.get("VersionId"))

    def _put(self, text: str, token: str) -> None:
        # The same token with the same value is the same version: a put may be repeated.
        self._ask("put the secret", "put_secret_value", SecretString=text, ClientRequestToken=token)

    def _ask(self, action: str, operation: str, **parameters: str) -> dict[str, Any]:
        return self._client.ask(f"{action} {self._id}", operation, SecretId=self._id, **parameters)


@dataclass(frozen=True, repr=False)
class Mark:
    """What tells the versions that one target's rotations have set: ids made of the rotation's, and of whom it is for.

    owner_tag, owner: as the tag of a secret elsewhere has it.
    """

    owner_tag: str
    owner: str

    def of(self, rotation_id: str) -> str:
        """Return the id of the version that a rotation of this target sets."""
        whom = f"{self.owner_tag}={self.owner} {rotation_id}"
        return f"{rotation_id}-{hashlib.sha256(whom.encode()).hexdigest()[:_DIGITS]}"

    def is_on(self, version: str) -> bool | None:
        """Say whether a rotation of this target has set a version, or one of another's; None where it was neither."""
        if version == self.of(rotation_in(version)):
            return True
        return False if rotation_in(version) else None


def rotation_in(version: str) -> str:
    """Return the id of the rotation that has set a version, empty where none has."""
    rotation_id, _, digest = version.rpartition("-")
    return rotation_id if _ROTATION.fullmatch(rotation_id) and len(digest) == _DIGITS else ""


def why_not_written(described: Mapping[str, Any], secret_id: str, region: str) -> tuple[Refusal, Refused] | None:
    """Return why a secret is not ours to write, and the error for it; None where it is.

    It may be a replica, one that AWS rotates, or another service's.
    """
    what, primary = f"{SYSTEM}: secret {secret_id}", str(described.get("PrimaryRegion") or region)
    if primary != region:
        known = primary if re.fullmatch(REGION_NAME, primary) else "another region"
        return REPLICA, REPLICA.as_error(f"{what} in {region}", f" {known}")
    if described.get("OwningService"):
        return MANAGED, MANAGED.as_error(what)
    if described.get("RotationEnabled"):
        return ROTATED, ROTATED.as_error(what)
    return None


def _text(found: Mapping[str, Any]) -> str:
    # What is not text is nothing of ours, but something.
    return found.get("SecretString") or (_BINARY if found.get("SecretBinary") else "")
