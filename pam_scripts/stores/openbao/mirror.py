"""One secret of a KV engine, version 2, as a mirror: both halves in it, and a revision for every write.

https://openbao.org/api-docs/secret/kv/kv-v2/

Every write names the version that it replaces (`cas`), and is refused where that is not the newest any more: nothing is
ever written over what somebody has set meanwhile. Whose the secret is stands in its custom metadata, which belongs
to all of its versions; so does which version which rotation has set.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pam_scripts.core.errors import ApiError, Refused
from pam_scripts.core.parallel import concurrently
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import iso
from pam_scripts.rotation.roles import Credential, Key, Known, Mirror, Publication, Snapshot, Sought
from pam_scripts.rotation.shape import EXPIRY_TAG, OWNER_TAGS, ROTATION_TAG
from pam_scripts.stores import Adoption, Kept, not_ours
from pam_scripts.stores.openbao.client import Client, NotThere, policy
from pam_scripts.stores.openbao.refusals import NOT_ALLOWED, SYSTEM, TOO_LONG, TOO_MANY_TAGS

VERSIONS_TAG = "rotation-versions"
"""The word of a secret's metadata that says which version which rotation has set: `3=ROTATION 2=ROTATION 1=-`.

The hyphen is for what was taken over, and for what was put back of that.
"""

_TAKEN_OVER = "-"

# What a secret takes, with the storage that both servers recommend; and what its custom metadata does.
MOST_BYTES = 1_000_000
MOST_TAGS = 64
_MOST_IN_A_TAG = 512


@dataclass(frozen=True, repr=False)
class Standing:
    """What stands at a path: the newest version's number and words, None where it cannot be read; and the tags.

    is_there: whether there is anything at all, be it metadata alone.
    """

    version: int = 0
    data: Mapping[str, Any] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    is_there: bool = True


class SecretMirror(Mirror):
    """One secret."""

    def __init__(self, client: Client, path: str, adoption: Adoption, owner: str) -> None:
        self._client = client
        self._path = path
        self._adoption = adoption
        self._shape = adoption.shape
        self._owner = owner
        self._ours = tuple(filter(None, (self._shape.id_label, self._shape.value_label)))
        self._engine = ""
        # What the look has seen; what stood there right before our write; and our version, as far as it was answered.
        self._looked = Standing()
        self._replaced: Standing | None = None
        self._made = 0

    @property
    def name(self) -> str:
        """The secret as messages name it."""
        return f"OpenBao/Vault {self._path}"

    @property
    def places(self) -> Sequence[str]:
        """The one secret."""
        return [self.name]

    def parts(self, credential: Credential) -> Mapping[str, str]:
        """Return what is ours of the secret once it holds this credential."""
        shape, value = self._shape, credential.secret.reveal()
        return {self._path: shape.combine(credential.key_id, value) if shape.id_label else shape.form(value)}

    def connect(self) -> None:
        """Log in."""
        self._client.log_in()

    # -- looking ----------------------------------------------------------------------------------

    def examine(self) -> Snapshot:
        """Read the secret; raise Refused where it is another target's, a right is missing, or it would not fit."""
        self._find_engine()
        paths = [self._at(kind) for kind in ("data", "metadata", "destroy")]
        with concurrently() as submit:
            rights = submit(lambda: self._client.rights(paths))
            looking = submit(self._look_or_refusal)
        standing, refusal = looking.result()
        self._refuse_missing_rights(rights.result(), is_new=not standing.is_there)
        if refusal:
            raise refusal
        self._looked = standing
        self._refuse_foreign(standing)
        self._refuse_what_does_not_fit(standing)
        return self._copy(standing)

    def adopt(self, known: Known) -> Sequence[str]:
        """Raise Refused for a secret that nobody has tagged, unless something tells that it is ours to write."""
        if not self._looked.is_there or self._looked.tags.get(self._shape.owner_tag) == self._owner:
            return ()
        held = self._copy(self._looked)
        reason = self._adoption.reason(held.parts.get(self._path, ""), held.key_id, self.parts, self._path, known)
        if not reason:
            raise not_ours(f"{SYSTEM}: secret {self._path}")
        return [f"{self.name} is taken over, since {reason}"]

    def read(self) -> Snapshot:
        """Read the newest version."""
        return self._copy(self._look())

    # -- writing ----------------------------------------------------------------------------------

    def write(self, publication: Publication) -> None:
        """Set the words that are ours in a new version, after the tags; looks first, and others' words stay.

        The tags name the version that is set next, so that nobody takes the one before it for it.
        """
        now = self._look()
        if self._copy(now).holds(self.parts(publication.credential)):
            return
        self._refuse_foreign(now)
        self._tag(now, self._tags_of(now, publication))
        self._replaced = now
        self._made = self._put("set", now, {**(now.data or {}), **self._words(publication.credential)})

    def put_back(
        self, before: Snapshot, publication: Publication | None, listed: Collection[str] | None = None
    ) -> None:
        """Set what stood there before in a new version, where this publication stands now; destroy ours.

        Where nothing could be read before, ours is destroyed and no more. What another writer has set between the look
        and our write is brought back rather than what was there before it, unless its key is not listed any more.
        Others' words stay as they are now. Where somebody writes at the same moment, theirs stays.
        """
        if publication is None:
            return
        written, now = self.parts(publication.credential), self._look()
        former: Standing = before.restore_point
        if self._replaced and self._replaced.version != former.version:
            key_id = self._copy(self._replaced).key_id
            former = former if listed is not None and key_id and key_id not in listed else self._replaced
        version = now.version
        if stands := self._copy(now).holds(written):
            words = {word: value for word, value in (former.data or {}).items() if word in self._ours}
            beside = {word: value for word, value in (now.data or {}).items() if word not in self._ours}
            if former.data is not None or beside:
                version = self._put("put back", now, {**beside, **words})
            else:
                self._destroy([version])
        if now.tags.get(ROTATION_TAG) == publication.rotation_id:
            self._tag(now, self._tags_back(now, former, version))
        self._withdraw(written, [now.version] if stands and version != now.version else [])
        if stands and self.read().holds(written):
            raise ApiError(SYSTEM, f"put back secret {self._path}", "it reads back unchanged")

    def outdated(self) -> Sequence[int]:
        """List the versions that can be read, be it after they are undeleted."""
        try:
            versions = self._ask("list the versions of", "GET", "metadata", capability="read").get("versions") or {}
            return [int(number) for number, one in versions.items() if not one["destroyed"]]
        except NotThere:
            return ()
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ApiError(SYSTEM, f"list the versions of secret {self._path}", "the answer is not readable") from None

    def retire(self, outdated: Sequence[int], kept: Sequence[Key]) -> None:
        """Destroy those of these versions that rotations of this target have set, and the one that ours was set upon.

        Whatever else stood in that one stands in ours. Those stay that hold a kept key. What others have set before
        stays until it is the oldest of too many.
        """
        tags = rotations_in(self._looked.tags)
        ours, staying = self._made or self._look().version, Kept(kept)

        def goes(version: int) -> bool:
            rotation = tags.get(version, _TAKEN_OVER if version == self._looked.version else "")
            if version >= ours or not rotation:
                return False
            holds = staying.tells("" if rotation == _TAKEN_OVER else rotation)
            return not (self._holds(version, staying) if holds is None else holds)

        if gone := sorted({version for version in outdated if goes(version)}):
            self._destroy(gone)

    def _holds(self, version: int, kept: Kept) -> bool:
        """Say whether a version holds a kept key, or may: one that is deleted does not tell."""
        data = self._looked.data if version == self._looked.version else self._data_of(version)
        return data is None or kept.has(self._copy(Standing(version, data)).key_id)

    def older(self, sought: Sought) -> Callable[[], Secret]:
        """Find the value: in a version that holds the key's id, or, of values, in one that a rotation has set.

        What is newest is looked at, too: a roll back that was interrupted may have been here.
        """
        tags = rotations_in(self._look().tags)
        for number in sorted(self.outdated(), reverse=True):
            if not self._shape.id_label and tags.get(number) not in sought.rotations:
                continue
            held = self._copy(Standing(number, self._data_of(number)))
            text = held.parts.get(self._path, "")
            if self._shape.id_label and held.key_id == sought.key_id:
                value = Secret(str(json.loads(text)[self._shape.value_label]))
                return lambda: value
            if not self._shape.id_label and (own := self._shape.value_in(text)):
                return lambda: Secret(own)
        raise Refused(f"{self.name}: has no version of it")

    # -- within -----------------------------------------------------------------------------------

    def _data_of(self, version: int) -> Mapping[str, Any] | None:
        """Return the words of a version; None where it is deleted."""
        try:
            found = self._ask("read", "GET", "data", query=f"?version={version}", capability="read").get("data")
        except NotThere:
            return None
        return found if isinstance(found, Mapping) else None

    def _at(self, kind: str) -> str:
        """Return the secret's path at the engine: `data`, `metadata`, `destroy`."""
        self._find_engine()
        return f"{self._engine}{kind}/{self._path.removeprefix(self._engine)}"

    def _find_engine(self) -> None:
        self._engine = self._engine or self._client.engine_of(self._path)

    def _ask(  # noqa: PLR0913 - each is one fact of a request
        self,
        action: str,
        method: str,
        kind: str,
        body: Mapping[str, Any] | None = None,
        query: str = "",
        *,
        capability: str,
    ) -> Mapping[str, Any]:
        return self._client.ask(
            f"{action} secret {self._path}", method, self._at(kind) + query, body, capability=capability
        )

    def _look_or_refusal(self) -> tuple[Standing, ApiError | None]:
        """Look; a refusal is returned, for what is missing tells more of it than the refusal itself."""
        try:
            return self._look(), None
        except ApiError as error:
            if error.code != HTTPStatus.FORBIDDEN:
                raise
            return Standing(), error

    def _look(self) -> Standing:
        """Return what stands there; of what was deleted or destroyed the number alone."""
        try:
            found = self._ask("read", "GET", "data", capability="read")
        except NotThere:
            return self._look_at_metadata()
        try:
            about = found["metadata"]
            return Standing(int(about["version"]), dict(found["data"] or {}), _tags(about))
        except (KeyError, TypeError, ValueError):
            raise ApiError(SYSTEM, f"read secret {self._path}", "the answer is not readable") from None

    def _look_at_metadata(self) -> Standing:
        try:
            about = self._ask("look at", "GET", "metadata", capability="read")
            return Standing(int(about["current_version"]), None, _tags(about))
        except NotThere:
            return Standing(is_there=False)
        except (KeyError, TypeError, ValueError):
            raise ApiError(SYSTEM, f"look at secret {self._path}", "the answer is not readable") from None

    def _copy(self, standing: Standing) -> Snapshot:
        if not standing.data:
            return Snapshot({}, restore_point=standing)
        shape, data = self._shape, standing.data
        Secret(str(data.get(shape.value_label, "")))
        text = json.dumps(dict(data))
        if shape.id_label:
            part, key_id, _ = shape.split(text)
        else:
            value = data.get(shape.value_label)
            part, key_id = (value if isinstance(value, str) else text), ""
        return Snapshot({self._path: part}, key_id, "" if key_id else "a value", standing)

    def _words(self, credential: Credential) -> dict[str, str]:
        part = self.parts(credential)[self._path]
        return json.loads(part) if self._shape.id_label else {self._shape.value_label: part}

    def _put(self, action: str, now: Standing, data: Mapping[str, Any]) -> int:
        """Set a version, unless there is a newer one than was seen; return its number."""
        body = {"options": {"cas": now.version}, "data": data}
        # There are tags by now: a policy counts the first version, too, as an update.
        made = self._ask(action, "POST", "data", body, capability="update").get("version")
        return made if isinstance(made, int) else now.version + 1

    def _destroy(self, versions: Sequence[int]) -> None:
        self._ask("destroy versions of", "POST", "destroy", {"versions": list(versions)}, capability="update")

    def _withdraw(self, written: Mapping[str, str], ours: Iterable[int]) -> None:
        """Destroy our versions that are not the newest any more: those given, and what a lost answer may have made."""
        gone = {*ours}
        tried = self._replaced.version + 1 if self._replaced else 0
        try:
            if tried and tried not in gone and self._copy(Standing(tried, self._data_of(tried))).holds(written):
                gone.add(tried)
            if gone:
                self._destroy(sorted(gone))
        except NotThere:
            return
        except ApiError as error:
            # Whoever may not do this leaves a version that logs nobody in, and that is put back by nobody.
            if not error.refused:
                raise

    # -- tags -------------------------------------------------------------------------------------

    def _tags_of(self, now: Standing, publication: Publication) -> dict[str, str | None]:
        """Return the tags of a secret whose next version is set by a rotation."""
        return {
            self._shape.owner_tag: self._owner,
            EXPIRY_TAG: iso(publication.expires_at) if publication.expires_at else None,
            "rotated-at": iso(publication.rotated_at),
            ROTATION_TAG: publication.rotation_id,
            VERSIONS_TAG: _write_tags({**self._rotations(now), now.version + 1: publication.rotation_id}),
        }

    def _rotations(self, now: Standing) -> dict[int, str]:
        """Return the rotation that has set each version.

        What the look has seen, and no rotation has set, is taken over: it is destroyed with the others, by whichever
        rotation comes to that.
        """
        taken_over = {now.version: _TAKEN_OVER} if now.data and now.version == self._looked.version else {}
        return {**taken_over, **rotations_in(now.tags)}

    def _tags_back(self, now: Standing, former: Standing, version: int) -> dict[str, str | None]:
        """Return the tags as they were, with the number that what stood there has now."""
        taken_over = {number: one for number, one in rotations_in(now.tags).items() if one == _TAKEN_OVER}
        known = {**taken_over, **rotations_in(former.tags)}
        if version != now.version:
            known[version] = known.get(former.version, _TAKEN_OVER)
        ours = (self._shape.owner_tag, EXPIRY_TAG, "rotated-at", ROTATION_TAG)
        return {**{word: former.tags.get(word) for word in ours}, VERSIONS_TAG: _write_tags(known)}

    def _tag(self, now: Standing, tags: Mapping[str, str | None]) -> None:
        """Write the tags, others' own left alone; None takes one away."""
        if now.is_there:
            self._ask("tag", "PATCH", "metadata", {"custom_metadata": dict(tags)}, capability="patch")
        else:
            made = {word: text for word, text in tags.items() if text is not None}
            self._ask("tag", "POST", "metadata", {"custom_metadata": made}, capability="create")

    # -- refusing ---------------------------------------------------------------------------------

    def _refuse_missing_rights(self, rights: Mapping[str, Sequence[str]], *, is_new: bool) -> None:
        """Raise Refused with the lines that the policy lacks, as far as the server tells."""
        needed = {
            self._at("data"): ["read", "update"],
            self._at("metadata"): ["create", "read", "patch"] if is_new else ["read", "patch"],
            self._at("destroy"): ["update"],
        }
        lines = []
        for path, capabilities in needed.items():
            allowed = rights.get(path)
            if allowed is not None and "root" not in allowed and not {*capabilities} <= {*allowed}:
                lines.append(policy(path, capabilities))
        if lines:
            raise NOT_ALLOWED.as_error(f"{SYSTEM}: secret {self._path}", f": {' '.join(lines)}")

    def _refuse_foreign(self, standing: Standing) -> None:
        tags = (*OWNER_TAGS, self._shape.owner_tag)
        owners = {f"{tag} {standing.tags[tag]}": tag for tag in dict.fromkeys(tags) if standing.tags.get(tag)}
        for shown in owners.keys() - {f"{self._shape.owner_tag} {self._owner}"}:
            raise Refused(
                f"{SYSTEM}: secret {self._path} is tagged as that of {shown}, not of {self._owner}",
                next_step="give one of the two records another secret",
            )

    def _refuse_what_does_not_fit(self, standing: Standing) -> None:
        """Raise Refused where the next version would be longer, or have more tags, than a secret takes."""
        what = f"{SYSTEM}: secret {self._path}"
        sample = self._words(Credential(self._shape.sample, Secret(self._shape.sample)))
        if len(json.dumps({**(standing.data or {}), **sample})) > MOST_BYTES:
            raise TOO_LONG.as_error(what)
        ours = {self._shape.owner_tag, EXPIRY_TAG, "rotated-at", ROTATION_TAG, VERSIONS_TAG}
        if len({*standing.tags} | ours) > MOST_TAGS:
            raise TOO_MANY_TAGS.as_error(what)


def _tags(about: Mapping[str, Any]) -> dict[str, str]:
    return {str(word): str(text) for word, text in (about.get("custom_metadata") or {}).items()}


def rotations_in(tags: Mapping[str, str]) -> dict[int, str]:
    """Return the rotation that has set each version, as far as a secret's tags say."""
    pairs = [entry.partition("=") for entry in tags.get(VERSIONS_TAG, "").split()]
    return {int(number): rotation for number, _, rotation in pairs if number.isdecimal() and rotation}


def _write_tags(rotations: Mapping[int, str]) -> str | None:
    """Write them, the newest first, as many as a tag takes; None for none."""
    text = ""
    for number, rotation in sorted(rotations.items(), reverse=True):
        if len(longer := f"{text} {number}={rotation}".strip()) > _MOST_IN_A_TAG:
            break
        text = longer
    return text or None
