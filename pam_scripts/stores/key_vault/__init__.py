"""Azure Key Vault: which secrets in which vaults a record asks for. mirror.py reads and writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pam_scripts.core import entra, http, roles
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Field, Settings
from pam_scripts.core.gateway import Job

SYSTEM = "key vault"

_VAULT_NAME = r"[a-zA-Z](?:[a-zA-Z0-9]|-(?!-)){1,22}[a-zA-Z0-9]"
_SECRET_NAME = r"[0-9a-zA-Z-]{1,127}"  # noqa: S105 - the shape of a name


@dataclass(frozen=True)
class Layout:
    """How one kind of credential is laid out in a vault.

    value_part, id_part, both_part: what the secrets' names end in, and their `key-type` tag; empty
    where there is no such secret. target_tag: the tag that names whose credential it is.
    id_field, value_field: the words for the two in the combined secret's JSON. form: makes of the
    credential's value what is stored for it.
    """

    value_part: str
    target_tag: str
    id_part: str = ""
    both_part: str = ""
    id_field: str = ""
    value_field: str = ""
    form: Callable[[str], str] = str


@dataclass(frozen=True)
class Target:
    """Whose credential a mirror is of: the word for it in secrets' names, and in their tag where that differs."""

    id: str
    tag: str = ""


VAULT_FIELD = Field(
    "key_vault_name", "name of the Azure Key Vault, or its full https address; several with commas; empty: no mirror"
)


def fields(prefix: str, names: str) -> tuple[Field, ...]:
    """Return the fields that ask for a mirror. prefix: the default one; names: what the secrets are called."""
    return (
        VAULT_FIELD,
        Field("secret_name_prefix", f"secrets are {names}", default=prefix),
        Field("key_vault_combined", "'True': also one secret with both, as JSON", default="False"),
    )


def mirrors(  # noqa: PLR0913, PLR0917 - each is one fact of a mirror
    job: Job,
    settings: Settings,
    layout: Layout,
    target: Target,
    app: entra.AppSecret | None,
    session: http.Session,
) -> list[roles.Mirror]:
    """Return the mirrors that a record's `key_vault_name` asks for, none where it is empty.

    Raises BadInput for a vault or a prefix that Key Vault could not have.
    """
    tag = target.tag or target.id
    return _mirrors(places_of(job, settings, layout, target), layout, tag, app, session)


def value_mirrors(
    job: Job, settings: Settings, layout: Layout, app: entra.AppSecret | None, session: http.Session
) -> list[roles.Mirror]:
    """Return the mirrors of a value that stands alone: in every vault the one secret that `secret_name` names."""
    return _mirrors(value_places_of(job, settings, layout), layout, job.user.uid, app, session)


@dataclass(frozen=True)
class Place:
    """Where a record asks for a mirror: the vault's URL, whom to log in at, the secrets' names by part."""

    url: str
    authority: str
    names: Mapping[str, str]

    @property
    def vault(self) -> str:
        """The vault's name."""
        return self.url.removeprefix("https://").partition(".")[0]


def places_of(job: Job, settings: Settings, layout: Layout, target: Target) -> list[Place]:
    """Return where a record asks for its mirrors; raise BadInput as `mirrors` does."""
    stem = f"{settings.text('secret_name_prefix')}-{target.id}"
    combined = [layout.both_part] if settings.flag("key_vault_combined") else []
    names = {part: f"{stem}-{part}" for part in (*combined, layout.id_part, layout.value_part)}
    return _places(job, settings, "secret_name_prefix", names)


def value_places_of(job: Job, settings: Settings, layout: Layout) -> list[Place]:
    """Return where a record asks for the mirrors of a value that stands alone; raise BadInput as `mirrors` does."""
    name = settings.text("secret_name")
    if settings.text("key_vault_name") and not name:
        raise BadInput(f"{job.user.shown}: field 'secret_name' is empty; enter the secret's name in Key Vault")
    return _places(job, settings, "secret_name", {layout.value_part: name})


def _places(job: Job, settings: Settings, naming: str, names: Mapping[str, str]) -> list[Place]:
    vaults = [name for part in settings.text("key_vault_name").split(",") if (name := part.strip())]
    suffix = entra.find_cloud(job).vault_suffix if vaults else ""
    found = dict.fromkeys(_vault(name, suffix) for name in vaults)
    for made in names.values() if found else ():
        if not re.fullmatch(_SECRET_NAME, made):
            raise BadInput(
                f"{job.user.shown}: field '{naming}' makes the secret name '{made[:140]}'",
                next_step="a Key Vault name has 1 to 127 letters, digits and hyphens: change or shorten it",
            )
    return [Place(url, authority, names) for url, authority in found]


def _mirrors(
    places: Sequence[Place], layout: Layout, tag: str, app: entra.AppSecret | None, session: http.Session
) -> list[roles.Mirror]:
    if not places:
        return []
    for place in places:
        # Its secrets are read side by side.
        session.connect(place.url, len(place.names))
    logins = {place.authority: entra.log_in(app, place.authority, session) for place in places}
    # Imported while the connections are made: the SDK is a fifth of a script's start-up, and a run without a
    # mirror needs none of it.
    from pam_scripts.stores.key_vault.mirror import Mirror  # noqa: PLC0415

    return [Mirror(place.url, logins[place.authority], layout, place.names, tag, session) for place in places]


def _vault(name: str, suffix: str) -> tuple[str, str]:
    """Return a vault's URL and its cloud's authority, for its name or its URL; raise BadInput for anything else."""
    host = name.removeprefix("https://").rstrip("/").lower() if name.startswith("https://") else ""
    if not host and re.fullmatch(_VAULT_NAME, name):
        host = f"{name.lower()}.{suffix}"
    label, _, suffix = host.partition(".")
    cloud = next((cloud for cloud in entra.CLOUDS.values() if cloud.vault_suffix == suffix), None)
    if cloud and re.fullmatch(_VAULT_NAME, label):
        return f"https://{host}", cloud.authority
    suffixes = " or ".join(cloud.vault_suffix for cloud in entra.CLOUDS.values())
    raise BadInput(
        f"field 'key_vault_name' is {name[:60]!r}",
        next_step="enter the vault's name (3 to 24 letters, digits and single hyphens) "
        f"or its full address, https://NAME.{suffixes}",
    )
