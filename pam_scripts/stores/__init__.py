"""Stores: where copies of a credential are kept, and which secrets there are a record's own to write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pam_scripts.core.errors import BadInput, Refused
from pam_scripts.core.fields import FLAG, Field
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.rotation.roles import Credential, Key, Known
from pam_scripts.rotation.shape import Shape

ADOPT_SECRETS = Field(
    "adopt_secrets",
    "'True': also overwrite secrets in mirrors that no rotation of this record has set",
    FLAG,
    default="False",
)


@dataclass(frozen=True, repr=False)
class Adoption:
    """Decides which secrets without an owner tag a record may take over.

    former: the value before the one that Keeper has just made, empty where there is none. asked: whether the record
    says that whatever stands there may be overwritten.
    """

    shape: Shape
    former: Secret = field(default_factory=lambda: Secret(""))
    asked: bool = False

    @classmethod
    def of(cls, job: Job, shape: Shape) -> Adoption:
        """Return what a job says of it."""
        former = Secret("") if shape.id_label else job.old_password
        return cls(shape, former, ADOPT_SECRETS.read(job.user))

    def reason(
        self, held: str | None, key_id: str, parts: Callable[[Credential], Mapping[str, str]], place: str, known: Known
    ) -> str:
        """Return why a place without an owner tag may be overwritten, empty where it may not.

        held: what stands there, None where it cannot be read. key_id: the key that it is of, as far as it shows.
        parts: what stands in the mirror's places once they hold a credential.
        """
        if held is not None and not held.strip():
            return "it is empty"
        if held and key_id in known.key_ids:
            return "it holds a key of the target"
        for credential in (self._recorded(known), Credential("", self.former)):
            try:
                if held and credential.secret and held == parts(credential)[place]:
                    return "it holds what was published before"
            except BadInput:
                # The template cannot hold that value, so that it was never published.
                continue
        return f"'{ADOPT_SECRETS.label}' is 'True'" if self.asked else ""

    def _recorded(self, known: Known) -> Credential:
        values = known.record
        return Credential(values.get(self.shape.id_label, ""), Secret(values.get(self.shape.value_label, "")))


@dataclass(frozen=True, repr=False)
class Kept:
    """The keys that stay alive after a rotation: tells which older versions hold one of them, and stay readable."""

    keys: Sequence[Key]

    def tells(self, rotation_id: str) -> bool | None:
        """Say whether a version holds one of the keys, by which rotation has set it, empty where that is not known.

        None where only the version itself can tell: nobody has marked it, or a key's own rotation is not known.
        """
        rotations = {key.rotation_id for key in self.keys}
        if rotation_id and rotation_id in rotations:
            return True
        unknown = not rotation_id or "" in rotations
        return None if self.keys and unknown else False

    def has(self, key_id: str) -> bool:
        """Say whether one of the keys has this id."""
        return key_id in {key.id for key in self.keys}


def not_ours(what: str) -> Refused:
    """Return the error for a secret without an owner tag that is not known to be ours. what: the secret, and where."""
    return Refused(
        f"{what} holds a value that no rotation of this record has stored",
        next_step=f"enter another name; or set '{ADOPT_SECRETS.label}' to 'True' for one rotation, to have it "
        "overwritten",
    )
