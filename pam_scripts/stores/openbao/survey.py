"""OpenBao, or HashiCorp Vault: what an engine says of secrets and their versions; never a secret's value.

https://openbao.org/api-docs/secret/kv/kv-v2/#read-secret-metadata
https://openbao.org/api-docs/secret/kv/kv-v2/#list-secrets
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.core.times import read_moment, utc_now
from pam_scripts.gateway.specs import MirrorQuery
from pam_scripts.rotation.seen import SeenMirror, SeenSecret, Trouble
from pam_scripts.rotation.shape import EXPIRY_TAG, ROTATION_TAG
from pam_scripts.stores.openbao import LABEL, Place
from pam_scripts.stores.openbao.client import Client, NotThere
from pam_scripts.stores.openbao.mirror import rotations_in

# How many secrets of one folder are asked for one by one without looking which of them are there.
_FEW = 3


def survey(queries: Sequence[MirrorQuery], session: Session, say: Callable[[str], None]) -> list[SeenMirror]:
    """Return the secret that each mirror is, by its path in small letters; why it could not be asked, if it could not.

    Of a folder with many of them the names are listed first, where the login may: what is not among those is not asked
    for. A secret whose newest version is destroyed counts as none, one whose newest version is deleted as deleted.
    """
    places = [query.group for query in queries if isinstance(query.group, Place)]
    client = Client(places[0].login, session)
    engines: dict[str, str] = {}
    names: dict[str, set[str] | None] = {}
    folders = [place.path.rpartition("/")[0] for place in places]
    seen = []
    for number, (place, folder) in enumerate(zip(places, folders, strict=True), 1):
        say(f"{client.host}: metadata, {number} of {len(places)}")
        try:
            top = place.path.partition("/")[0]
            if not place.path.startswith(engines.get(top) or "\0"):
                engines[top] = retrying(session.deadline, partial(client.engine_of, place.path))
            if folder not in names:
                many = folders.count(folder) > _FEW
                names[folder] = _listed(client, engines[top], folder, session) if many else None
            listed = names[folder]
            is_there = listed is None or place.path.rpartition("/")[2] in listed
            found = _seen(client, engines[top], place.path, session) if is_there else SeenMirror()
            seen.append(replace(found, page=_page(place, engines[top])))
        except PamScriptError as error:
            way_out = error.next_step or f"check '{LABEL}' and the login's policies"
            seen.append(SeenMirror(trouble=Trouble("vault-unreadable", error.cause, way_out)))
    return seen


def link(_query: MirrorQuery) -> str:
    """Return nothing: where a server's pages show a secret depends on its engine, which the look finds out."""
    return ""


def _page(place: Place, engine: str) -> str:
    """Return where the server's own pages show a secret; those of HashiCorp Vault lead on from there since 1.15.

    https://github.com/openbao/openbao/blob/main/ui/app/router.js
    https://github.com/hashicorp/vault/pull/24339
    """
    login, name = place.login, quote(place.path.removeprefix(engine))
    namespace = f"?namespace={quote(login.namespace.strip('/'), safe='')}" if login.namespace else ""
    return f"{login.address}/ui/vault/secrets/{quote(engine.strip('/'), safe='')}/show/{name}{namespace}"


def _listed(client: Client, engine: str, folder: str, session: Session) -> set[str] | None:
    """Return the names in a folder; None where the login may not list them."""
    path = f"{engine}metadata/{f'{folder}/'.removeprefix(engine)}?list=true"
    try:
        found = retrying(session.deadline, lambda: client.ask(f"list the secrets in {folder}", "GET", path))
    except NotThere:
        return set()
    except ApiError as error:
        if error.declined:
            return None
        raise
    return {str(name) for name in found.get("keys") or ()}


def _seen(client: Client, engine: str, path: str, session: Session) -> SeenMirror:
    action, name = f"look at secret {path}", path.lower()
    at = f"{engine}metadata/{path.removeprefix(engine)}"
    try:
        about = retrying(session.deadline, lambda: client.ask(action, "GET", at, capability="read"))
    except NotThere:
        return SeenMirror()
    versions = about.get("versions") or {}
    newest: Mapping[str, Any] = versions.get(str(about.get("current_version"))) or {}
    end = read_moment(str(newest.get("deletion_time") or ""))
    if not newest or newest.get("destroyed"):
        return SeenMirror()
    if end and end <= utc_now():
        return SeenMirror(deleted=frozenset({name}))
    tags = {str(word): str(text) for word, text in (about.get("custom_metadata") or {}).items()}
    if rotations_in(tags).get(int(str(about.get("current_version"))), "") != tags.get(ROTATION_TAG, ""):
        # They are of a version before: somebody else has set the newest.
        tags = {word: text for word, text in tags.items() if word not in (ROTATION_TAG, EXPIRY_TAG)}
    return SeenMirror({name: SeenSecret(enabled=True, tags=tags, expires_at=end)})
