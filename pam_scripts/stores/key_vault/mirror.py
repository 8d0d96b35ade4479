"""Azure Key Vault's secrets as a store: a mirror of the credential in two secrets, or in one more that holds both.

https://learn.microsoft.com/rest/api/keyvault/secrets

Key Vault has no way to write two secrets in one request: between the two, which go side by side, a reader
may see a new one beside an old one. The combined secret has no such moment.
It has no revisions either, so what keeps two rotations apart is the lease in the Keeper record.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from azure.core.exceptions import (
    AzureError,
    DecodeError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.keyvault.secrets import KeyVaultSecret, SecretClient, SecretProperties

from pam_scripts.core import http, refusals
from pam_scripts.core.errors import ApiError, PamScriptError, Refused
from pam_scripts.core.parallel import concurrently, holding
from pam_scripts.core.refusals import find_refusal
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import iso
from pam_scripts.logins import azure
from pam_scripts.rotation.roles import Credential, Key, Known, Mirror, Publication, Snapshot, Sought
from pam_scripts.rotation.shape import EXPIRY_TAG, OWNER_TAGS, ROTATION_TAG
from pam_scripts.stores import Adoption, Kept, not_ours
from pam_scripts.stores.key_vault.refusals import DELETED, GRANT, KNOWN, SYSTEM, WRONG_TENANT, code_in

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential
    from azure.core.rest import HttpRequest

T = TypeVar("T")

# Held by whoever is within the SDK, but for the time on the wire: its models are not made for several threads
# (https://github.com/Azure/azure-sdk-for-python/issues/47426), and it is the wire that goes side by side.
SDK_LOCK = threading.Lock()

# What a secret takes: https://learn.microsoft.com/azure/key-vault/secrets/about-secrets
MOST_BYTES = 25 * 1024
MOST_TAGS = 15

# How many older versions are read, at most, until the right one is found.
_MOST_READ = 10

# The tag that says which part of a credential a secret is.
KEY_TYPE = "key-type"

# Seconds between two tries while a secret is being deleted or recovered, which takes longer than a moment.
SETTLING_PAUSE = 5.0

# For answers without a name.
_WAYS_OUT = {int(HTTPStatus.FORBIDDEN): GRANT, int(HTTPStatus.UNAUTHORIZED): WRONG_TENANT}

# A secret's name, and a version of it.
Outdated: TypeAlias = tuple[str, SecretProperties]


class VaultMirror(Mirror):
    """The secrets of one target in one vault."""

    def __init__(  # noqa: PLR0913, PLR0917 - each is one fact of a mirror
        self,
        url: str,
        login: azure.TokenSource,
        adoption: Adoption,
        names: Mapping[str, str],
        owner: str,
        session: http.Session,
    ) -> None:
        self._vault = url.removeprefix("https://").partition(".")[0]
        self._action = f"log in to {self._vault}"
        self._client = _client(url, azure.SdkCredential(login, SYSTEM, self._action), session)
        self._url = url
        self._login = login
        self._session = session
        self._adoption = adoption
        self._shape = adoption.shape
        # By part.
        self._names = dict(names)
        self._owner = owner
        # By name: the ids of the versions that were there at the look, as far as it told, and before ours was set.
        self._seen: dict[str, set[str]] = {}
        self._listed: dict[str, set[str]] = {}
        # What the look has seen, by name: the newest version, whose tags and type go on; what stands beside ours in a
        # JSON object; and, of what nobody has marked, what stands there, None where it cannot be read.
        self._newest: dict[str, SecretProperties] = {}
        self._beside: dict[str, Mapping[str, Any]] = {}
        self._unmarked: dict[str, str | None] = {}
        self._key_ids: dict[str, str] = {}
        # By version: the id of the key that it is of, as far as it was read.
        self._key_id_in: dict[str, str] = {}
        self._disabled: set[str] = set()
        # By name, once it was tried to set them.
        self._wanted: Mapping[str, str] = {}
        self._made: dict[str, SecretProperties] = {}

    @property
    def name(self) -> str:
        """The vault as messages name it."""
        return f"Azure Key Vault {self._vault}"

    @property
    def places(self) -> Sequence[str]:
        """The secrets' names."""
        return [f"{self.name} as: {name}" for name in self._names.values()]

    def parts(self, credential: Credential) -> Mapping[str, str]:
        """Return the secrets' values once the vault holds this credential."""
        return self._values(credential.key_id, credential.secret.reveal())

    def _values(self, key_id: str, secret: str) -> dict[str, str]:
        shape = self._shape
        values = {
            shape.both_part: shape.combine(key_id, secret),
            shape.id_part: key_id,
            shape.value_part: shape.form(secret),
        }
        return {name: values[part] for part, name in self._names.items()}

    def connect(self) -> None:
        """Get a token, and meanwhile have the vault say whose tokens it takes, which the SDK asks it once."""
        with concurrently() as submit:
            submit(partial(self._login.token, self._url.partition(".")[2], SYSTEM, self._action))
            submit(self._ask_for_challenge)

    def examine(self) -> Snapshot:
        """Read the secrets; raise Refused where a name is taken, by a deleted secret or for another target.

        A secret is ours where any of its versions carries our mark: a person's repair makes a version without one.
        """
        copy = self.read()
        found = {name: secret.properties for name, secret in copy.restore_point.items() if secret}
        for name, newest in found.items():
            self._refuse_foreign(name, newest)
        unclear = [
            name for name in self._names.values() if name in self._disabled or self._owner_in(found.get(name)) == ""
        ]
        with concurrently() as submit:
            listing = {name: submit(partial(self._versions, name)) for name in unclear}
            for name in self._names.values():
                if name not in found and name not in self._disabled:
                    submit(partial(self._refuse_soft_deleted, name))
        listed = {name: versions.result() for name, versions in listing.items()}
        for name, versions in listed.items():
            owners = {self._owner_in(version): version for version in versions}
            if name in self._disabled:
                # Nobody reads a version that is disabled, and whose it is stands there all the same.
                for version in _newest_disabled(versions):
                    self._refuse_foreign(name, version)
            if self._owner not in owners:
                for version in owners.values():
                    self._refuse_foreign(name, version)
                self._unmarked[name] = copy.parts.get(name)
        self._newest = {**{name: max(each, key=_created) for name, each in listed.items() if each}, **found}
        known = {name: listed.get(name, [newest]) for name, newest in self._newest.items()}
        self._seen = {name: {version.version or "" for version in versions} for name, versions in known.items()}
        named = copy.parts.get(self._names.get(self._shape.id_part, ""), "")
        self._key_ids = dict.fromkeys(copy.restore_point, named)
        for name, secret in copy.restore_point.items():
            if secret:
                self._key_id_in[secret.properties.version or ""] = self._key_id_of(name, secret.value or "")
        if both := copy.restore_point.get(combined := self._names.get(self._shape.both_part, "")):
            _, self._key_ids[combined], self._beside[combined] = self._shape.split(both.value or "")
        self._refuse_what_does_not_fit()
        return copy

    def adopt(self, known: Known) -> Sequence[str]:
        """Raise Refused for a secret that nobody has marked, unless something tells that it is ours to write."""
        lines = []
        for name, held in self._unmarked.items():
            reason = self._adoption.reason(held, self._key_ids[name], self.parts, name, known)
            if not reason:
                raise not_ours(f"{SYSTEM}: secret {name} in {self._vault}")
            lines.append(f"{self.name}: secret {name} is taken over, since {reason}")
        return lines

    def read(self) -> Snapshot:
        """Read the secrets, without a part that is to be set and was there at the look, as an id that is a name."""
        with concurrently() as submit:
            reading = {name: submit(partial(self._get, name)) for name in self._names.values()}
        found = {name: secret.result() for name, secret in reading.items()}
        parts = {name: self._part(name, secret) for name, secret in found.items() if secret}
        parts = {name: part for name, part in parts.items() if not self._was_there(name, part, found[name])}
        Secret(parts.get(self._names[self._shape.value_part], ""))
        rotations = {(secret.properties.tags or {}).get(ROTATION_TAG) for secret in found.values() if secret}
        named = self._names.get(self._shape.id_part)
        whole = all(found.values()) and len(rotations) == 1
        key_id = parts.get(named, "") if named and whole else ""
        # What a person has entered into one of the secrets alone; half a pair is no key.
        pair = {named, self._names[self._shape.value_part]} <= {*parts}
        ids = {self._key_id_of(name, text) for name, text in parts.items() if pair or name != named}
        return Snapshot(parts, key_id, "" if named or not parts else "a value", found, key_ids=ids)

    def write(self, publication: Publication) -> None:
        """Set those secrets that are not set yet, side by side; looks before it repeats itself."""
        wanted = self.parts(publication.credential)
        present = self.read().parts if self._wanted else {}
        self._wanted = wanted
        with concurrently() as submit:
            for part, name in self._names.items():
                if present.get(name) != wanted[name]:
                    submit(partial(self._set, part, wanted[name], publication))

    def put_back(
        self, before: Snapshot, publication: Publication | None, listed: Collection[str] | None = None
    ) -> None:
        """Set what stood there before again, as a new version, where this publication stands now; disable ours.

        Where nothing stood there our version is disabled, too: deleting it would keep the name from being set
        again. What another writer has set since is brought back rather than what was there before it, unless its
        key is not listed any more.
        """
        if publication is None:
            return
        written = self.parts(publication.credential)
        # Everything is read before anything is set: a pair is mixed only between its two sets.
        found = {name: self._get(name) for name in written}
        # What a name is that comes again stood there before, too: its version tells whether it was written.
        ours = {
            name: present
            for name, present in found.items()
            if present
            and self._part(name, present) == written[name]
            and _version(present) != _version(before.restore_point[name])
        }
        previous = {name: self._set_since(name, before, publication) for name in ours}
        held = (found | previous).get(self._names.get(self._shape.id_part, ""))
        if listed is not None and held and held.value not in listed:
            previous = {}
        with concurrently() as submit:
            for name, present in ours.items():
                if former := previous.get(name) or before.restore_point[name]:
                    submit(partial(self._set_again, name, former))
                else:
                    submit(partial(self._disable, name, present.properties.version))
        with concurrently() as submit:
            for name in written:
                submit(partial(self._withdraw, name, publication))
        if ours and self.read().holds_any(before.lacks(written)):
            raise ApiError(SYSTEM, f"put back the secrets in {self._vault}", "they read back unchanged")

    def outdated(self) -> Sequence[Outdated]:
        """List the enabled versions."""
        with concurrently() as submit:
            listing = {name: submit(partial(self._versions, name)) for name in self._names.values()}
        found = {name: versions.result() for name, versions in listing.items()}
        self._listed = {name: {version.version or "" for version in versions} for name, versions in found.items()}
        return [(name, version) for name, versions in found.items() for version in versions if version.enabled]

    def retire(self, outdated: Sequence[Outdated], kept: Sequence[Key]) -> None:
        """Disable these versions, which were there before ours and hold keys that are deleted."""
        spared = self._spared(outdated, Kept(kept))
        with concurrently() as submit:
            for name, version in outdated:
                # A value that is published again may be what stood there before.
                ours = self._ours(name)
                if version not in spared and ours and version.version != ours.version:
                    submit(partial(self._disable, name, version.version))

    def _spared(self, outdated: Sequence[Outdated], kept: Kept) -> list[SecretProperties]:
        """Return the versions that hold a kept key: by their rotation, else by its id in them or beside.

        All is read before anything is disabled, so that this may be repeated.
        """
        told = [(name, version, kept.tells(_rotation(version))) for name, version in outdated]
        value_name = self._names[self._shape.value_part]
        with concurrently() as submit:
            for name, version, holds in told:
                if holds is None and name != value_name and version.version not in self._key_id_in:
                    submit(partial(self._read_key_id, name, version))
        own = [
            (name, version)
            for name, version, holds in told
            if (kept.has(self._key_id_in.get(version.version or "", "")) if holds is None else holds)
        ]
        id_name = self._names.get(self._shape.id_part)
        pairs = {_rotation(version) for name, version in own if name == id_name}
        beside = [one for name, one, holds in told if name == value_name and holds is None and _rotation(one) in pairs]
        return [version for _, version in own] + beside

    def _read_key_id(self, name: str, version: SecretProperties) -> None:
        self._key_id_in[version.version or ""] = self._key_id_of(name, self._value_of(version))

    def _key_id_of(self, name: str, text: str) -> str:
        """Return the id of the key that a secret's text names, empty where it names none: one that holds a value."""
        if name == self._names.get(self._shape.both_part):
            return self._shape.split(text)[1]
        return text if name == self._names.get(self._shape.id_part) else ""

    def older(self, sought: Sought) -> Callable[[], Secret]:
        """Find the value among the versions: in the combined secret, else in the two whose versions belong together.

        A key's version that is disabled is so on purpose: rotations leave those of kept keys as they are. A value's
        is disabled by the rotation after it, and is enabled for the moment of reading.
        """
        found = {part: self._older_versions(name, sought) for part, name in self._names.items()}
        if not self._shape.id_label:
            return self._older_value(found[self._shape.value_part], sought)
        for version in _readable(found.get(self._shape.both_part, ())):
            text, key_id, _ = self._shape.split(self._value_of(version))
            if key_id == sought.key_id:
                value = Secret(str(json.loads(text)[self._shape.value_label]))
                return lambda: value
        for version in _readable(found[self._shape.id_part]):
            if self._value_of(version) == sought.key_id:
                others = _readable(found[self._shape.value_part])
                values = {self._value_of(one) for one in others if _rotation(one) == _rotation(version)}
                if len(values) == 1:
                    pair = Secret(values.pop())
                    return lambda: pair
        disabled = any(not version.enabled for versions in found.values() for version in versions)
        raise Refused(f"{self.name}: {'its version is disabled' if disabled else 'has no version of it'}")

    def _older_versions(self, name: str, sought: Sought) -> list[SecretProperties]:
        """Return the versions of a secret that could be the credential's, the newest first; never another owner's."""
        versions = sorted(self._versions(name), key=_created, reverse=True)
        marked = [one for one in versions if _rotation(one) in sought.rotations and self._is_of(one, self._owner)]
        unmarked = [one for one in versions if not _rotation(one) and self._is_of(one, "", self._owner)]
        if sought.key_id:
            # Of those that say nothing of their rotation the key's own id tells.
            return [one for one in versions if one in marked or one in unmarked]
        limits = [_created(one) for one in versions if sought.before and _rotation(one) == sought.before]
        return marked or [one for one in unmarked if limits and _created(one) <= min(limits)]

    def _older_value(self, versions: Sequence[SecretProperties], sought: Sought) -> Callable[[], Secret]:
        if not versions:
            raise Refused(f"{self.name}: has no version of it")
        newest = versions[0]
        if not sought.rotations and [_created(one) for one in versions].count(_created(newest)) > 1:
            raise Refused(f"{self.name}: has several versions of that moment, and it cannot be told which one it is")

        def read() -> Secret:
            value = self._shape.value_in(self._value_of(newest))
            if not value:
                raise Refused(
                    f"{self.name}: what its version holds is no text that the record's template makes of a value",
                    next_step="set the template back to what it was then",
                )
            return Secret(value)

        if newest.enabled:
            secret = read()
            return lambda: secret
        return partial(self._unlocked, newest, read)

    def _unlocked(self, version: SecretProperties, read: Callable[[], Secret]) -> Secret:
        """Read a version while it is enabled. It never is the latest, and is disabled again whatever comes."""
        name = version.name or ""
        try:
            self._enable(name, version.version, enabled=True)
            return read()
        finally:
            try:
                self._enable(name, version.version, enabled=False)
            except PamScriptError as error:
                error.next_step = f"an older version of secret {name} may be enabled still: disable it"
                raise

    # -- within -----------------------------------------------------------------------------------

    def _is_of(self, version: SecretProperties, *owners: str) -> bool:
        return (self._owner_in(version) or "") in owners

    def _value_of(self, version: SecretProperties) -> str:
        """Return what one version holds."""
        name = version.name or ""
        return self._ask(
            f"read a version of secret {name}", lambda: self._client.get_secret(name, version.version).value or ""
        )

    def _part(self, name: str, secret: KeyVaultSecret) -> str:
        """Return what of a secret's value is ours: of a JSON object with both, these two words."""
        value = secret.value or ""
        return self._shape.split(value)[0] if name == self._names.get(self._shape.both_part) else value

    def _owner_in(self, version: SecretProperties | None) -> str | None:
        """Return whom a version is marked as being of, empty for nobody; None where there is no version."""
        if not version:
            return None
        owners = {tag: (version.tags or {}).get(tag, "") for tag in (*OWNER_TAGS, self._shape.owner_tag)}
        own = owners.pop(self._shape.owner_tag)
        return next(filter(None, owners.values()), own)

    def _refuse_foreign(self, name: str, version: SecretProperties) -> None:
        owner = self._owner_in(version)
        if owner and owner != self._owner:
            raise Refused(
                f"{SYSTEM}: secret {name} in {self._vault} is tagged as belonging to {owner}, not to {self._owner}",
                next_step="give one of the two records another name or prefix for its secrets",
            )
        wanted = next(part for part, its_name in self._names.items() if its_name == name)
        found = self._shape.part_of((version.tags or {}).get(KEY_TYPE, ""))
        if found and found != wanted:
            raise Refused(
                f"{SYSTEM}: secret {name} in {self._vault} is tagged as the {found} of a credential, but is to hold "
                f"its {wanted}",
                next_step="correct its tag 'key-type' or its name: readers by the tag would get the wrong part",
            )

    def _refuse_what_does_not_fit(self) -> None:
        """Raise Refused where the next version would be longer, or have more tags, than a secret takes."""
        shape = self._shape
        ours = {shape.owner_tag, KEY_TYPE, "rotated-at", ROTATION_TAG}
        ours |= {EXPIRY_TAG} if shape.expires_label else set()
        for name, value in self._values(shape.sample, shape.sample).items():
            what = f"{SYSTEM}: set secret {name} in {self._vault}"
            if (size := len(self._beside_others(name, value).encode())) > MOST_BYTES:
                raise Refused(
                    f"{what}: with the new value it would have {size} bytes, and a secret can have {MOST_BYTES}",
                    next_step="shorten the text around the value"
                    if not shape.id_part
                    else "remove what else is in its JSON object",
                )
            newest = self._newest.get(name)
            if (number := len({*((newest and newest.tags) or {})} - {EXPIRY_TAG} | ours)) > MOST_TAGS:
                raise Refused(
                    f"{what}: with those of a rotation it would have {number} tags, and a secret can have {MOST_TAGS}",
                    next_step="remove some of its other tags",
                )

    def _beside_others(self, name: str, value: str) -> str:
        """Return a secret's new value together with what stands beside it in a JSON object."""
        beside = self._beside.get(name)
        return json.dumps({**beside, **json.loads(value)}) if beside else value

    def _ask_for_challenge(self) -> None:
        challenge = self._session.made_once(self._url, "challenge", _Challenge)
        # What goes wrong here goes wrong again, and is reported, when the vault is asked in earnest.
        with contextlib.suppress(Exception), holding(challenge.lock, self._session.deadline):
            if not challenge.is_known:
                with SDK_LOCK:
                    _client(self._url, challenge, self._session).get_secret(next(iter(self._names.values())))

    def _was_there(self, name: str, part: str, secret: KeyVaultSecret | None) -> bool:
        """Say whether what is to be set stood there at the look: it is right, but its tags and its end are old."""
        return self._wanted.get(name) == part and _version(secret) in self._seen.get(name, ())

    def _ours(self, name: str) -> SecretProperties | None:
        """Return our version: as its making was answered, else the latest, which was read back."""
        if name not in self._made and (latest := self._get(name)):
            self._made[name] = latest.properties
        return self._made.get(name)

    def _set(self, part: str, value: str, publication: Publication) -> None:
        name = self._names[part]
        ours = {
            self._shape.owner_tag: self._owner,
            KEY_TYPE: self._shape.key_type(part),
            **({EXPIRY_TAG: iso(publication.expires_at)} if publication.expires_at else {}),
            "rotated-at": iso(publication.rotated_at),
            ROTATION_TAG: publication.rotation_id,
        }
        newest = self._newest.get(name)
        # The date of the key before is not this one's.
        theirs = {tag: text for tag, text in ((newest and newest.tags) or {}).items() if tag != EXPIRY_TAG}
        value = self._beside_others(name, value)
        content_type = "application/json" if part == self._shape.both_part else "text/plain"
        self._made[name] = self._ask(
            f"set secret {name}",
            lambda: (
                self._client.set_secret(
                    name,
                    value,
                    expires_on=publication.expires_at,
                    content_type=(newest and newest.content_type) or content_type,
                    tags={**theirs, **ours},
                ).properties
            ),
        )

    def _set_again(self, name: str, previous: KeyVaultSecret) -> None:
        properties = previous.properties
        self._ask(
            f"put back secret {name}",
            lambda: self._client.set_secret(
                name,
                previous.value or "",
                expires_on=properties.expires_on,
                not_before=properties.not_before,
                content_type=properties.content_type,
                tags=properties.tags,
            ),
        )

    def _set_since(self, name: str, before: Snapshot, publication: Publication) -> KeyVaultSecret | None:
        """Return the newest version that another writer has set since the look; None where nobody has.

        It is told by ids: not there at the look, nor when the versions were listed before ours was set. Of one that
        came between those two the vault's own times tell.
        """
        former: KeyVaultSecret | None = before.restore_point[name]
        looked = _created(former.properties) if former else 0.0

        def is_since(version: SecretProperties) -> bool:
            after_listing = name in self._listed and version.version not in self._listed[name]
            return after_listing or _created(version) > looked

        foreign = [
            version
            for version in self._versions(name)
            if version.enabled
            and _rotation(version) != publication.rotation_id
            and version.version not in self._seen.get(name, ())
            and is_since(version)
        ]
        if not foreign:
            return None
        newest = max(foreign, key=_created)
        return self._ask(f"read secret {name}", lambda: self._client.get_secret(name, newest.version))

    def _withdraw(self, name: str, publication: Publication) -> None:
        """Disable the versions that this publication has set; they are not what readers get any more."""
        try:
            for version in self._versions(name):
                if version.enabled and _rotation(version) == publication.rotation_id:
                    self._disable(name, version.version)
        except ApiError as error:
            # Whoever may not do this leaves a version that logs nobody in, and that is put back by nobody.
            if not error.refused:
                raise

    def _versions(self, name: str) -> list[SecretProperties]:
        return self._ask(
            f"list versions of secret {name}",
            lambda: list(self._client.list_properties_of_secret_versions(name)),
        )

    def _disable(self, name: str, version: str | None) -> None:
        self._enable(name, version, enabled=False)

    def _enable(self, name: str, version: str | None, *, enabled: bool) -> None:
        self._ask(
            f"{'enable' if enabled else 'disable'} a version of secret {name}",
            lambda: self._client.update_secret_properties(name, version, enabled=enabled),
        )

    def _get(self, name: str) -> KeyVaultSecret | None:
        """Return a secret's latest version; None where there is none, or where it is disabled."""

        def get() -> KeyVaultSecret | None:
            self._disabled.discard(name)
            try:
                return self._client.get_secret(name)
            except ResourceNotFoundError as error:
                # 404 alone may be the word of something on the way, and be taken for a name that is free.
                if code_in(_outer(error)) != "SecretNotFound":
                    raise
                return None
            except HttpResponseError as error:
                if error.status_code == HTTPStatus.FORBIDDEN and code_in(_outer(error)) == "SecretDisabled":
                    self._disabled.add(name)
                    return None
                raise

        return self._ask(f"read secret {name}", get)

    def _refuse_soft_deleted(self, name: str) -> None:
        try:
            self._ask(f"look for a deleted secret {name}", lambda: self._client.get_deleted_secret(name))
        except ApiError as error:
            # Not deleted, or not ours to know: the write will tell, before anything depends on it.
            if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.BAD_REQUEST):
                return
            raise
        raise DELETED.as_error(f"{SYSTEM}: set secret {name} in {self._vault}")

    def _ask(self, action: str, ask: Callable[[], T]) -> T:
        action = f"{action} in {self._vault}"
        try:
            with SDK_LOCK:
                return ask()
        except DecodeError as error:
            raise ApiError(SYSTEM, action, f"the answer is not readable ({type(error).__name__})") from None
        except HttpResponseError as error:
            raise _refused(action, error) from None
        except AzureError as error:
            raise _no_answer(action, error) from None
        except (TypeError, ValueError, AttributeError, KeyError, LookupError) as error:
            # What the SDK's own reading of a strange answer (a web page, half a body) ends in.
            raise ApiError(SYSTEM, action, f"the answer is not readable ({type(error).__name__})") from None


def _client(url: str, credential: TokenCredential, session: http.Session) -> SecretClient:
    return SecretClient(
        url,
        credential,
        transport=_Transport(session=session, session_owner=False),
        # The SDK would repeat a write whose answer was lost; what is repeated here looks first.
        retry_total=0,
        permit_redirects=False,
        # No word of the environment goes into what is sent.
        user_agent_use_env=False,
    )


class _Transport(RequestsTransport):  # type: ignore[misc]  # azure-core leaves its type open
    """Sends the SDK's requests over the run's session; other threads may use the SDK meanwhile."""

    def send(self, request: HttpRequest, **options: Any) -> Any:  # noqa: ANN401 - passed on
        """Send a request, and return the answer."""
        SDK_LOCK.release()
        try:
            return super().send(request, **options)
        finally:
            SDK_LOCK.acquire()


class _Challenge:
    """Whether a vault has said whose tokens it takes, for all that share connections to it.

    As a credential it ends a request at the point where a token is needed: the SDK has asked the vault then, and keeps
    the answer for the whole process.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.is_known = False

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        """Refuse."""
        self.is_known = True
        raise LookupError


def _rotation(version: SecretProperties) -> str:
    """Return the id of the rotation that set a version, empty where another hand did."""
    return (version.tags or {}).get(ROTATION_TAG, "")


def _readable(versions: Iterable[SecretProperties]) -> list[SecretProperties]:
    """Return those that are enabled, as many as are worth a request each."""
    return [version for version in versions if version.enabled][:_MOST_READ]


def _version(secret: KeyVaultSecret | None) -> str | None:
    return secret.properties.version if secret else None


def _created(version: SecretProperties) -> float:
    """Return when a version was set, in whole seconds by the vault's clock."""
    return version.created_on.timestamp() if version.created_on else 0.0


def _newest_disabled(versions: Sequence[SecretProperties]) -> list[SecretProperties]:
    """Return the disabled ones of the newest second: which of them was set last, the vault does not tell."""
    latest = max(map(_created, versions), default=0.0)
    return [version for version in versions if _created(version) == latest and not version.enabled]


def _no_answer(action: str, error: AzureError) -> ApiError:
    inner = error.inner_exception
    return http.no_answer(SYSTEM, action, inner if isinstance(inner, Exception) else error)


def _refused(action: str, error: HttpResponseError) -> ApiError:
    code = error.status_code
    if code is None or code < HTTPStatus.MULTIPLE_CHOICES:
        return ApiError(SYSTEM, action, "the answer is not readable")
    name = http.code_in(code_in(_outer(error)))
    refusal = find_refusal(name, KNOWN)
    headers = getattr(error.response, "headers", None) or {}
    pause = SETTLING_PAUSE if refusal and refusal.transient else None
    detail = "; ".join(filter(None, (name, refusal.words if refusal else "")))
    made = ApiError(
        SYSTEM,
        action,
        http.phrase(code) + (f" ({detail})" if detail else ""),
        code=code,
        name=name,
        retry_after=http.retry_after(headers) or pause,
        next_step=_WAYS_OUT.get(code, ""),
        busy=pause is not None,
    )
    refusals.explain(made, KNOWN)
    return made


def _outer(error: HttpResponseError) -> dict[str, Any]:
    """Return what the answer's `error` says, as far as azure-core has read it."""
    return {"code": getattr(error.error, "code", None), "innererror": getattr(error.error, "innererror", None)}
