"""OpenBao, or HashiCorp Vault: which secrets of its KV engine, version 2, a record asks for.

https://openbao.org/api-docs/secret/kv/kv-v2/
https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2

mirror.py reads and writes them, client.py logs in, by plain requests: no package of its own is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pam_scripts.core.errors import BadInput, NoLogin
from pam_scripts.core.fields import TEXT, Field, Fields, HttpsAddress, Names, Record, Text
from pam_scripts.core.http import Session
from pam_scripts.core.limits import NAMES, Limit
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import CA_BUNDLE
from pam_scripts.gateway.specs import MirrorQuery, MirrorSpec
from pam_scripts.rotation.roles import Mirror
from pam_scripts.rotation.shape import Shape, Target
from pam_scripts.stores import ADOPT_SECRETS, Adoption, previous

LABEL = "vault_path"

# No segment begins with a dot, and none has a letter that a policy takes for a pattern.
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9_.@=:-]{0,127}"
_FOLDER = rf"{_SEGMENT}(?:/{_SEGMENT}){{0,15}}"
_FILE = Text(r"(?:/|[A-Za-z]:[\\/]).{1,1000}", "the full path of a file on the Gateway's host")

PATHS = Field(
    LABEL,
    "path of a secret in OpenBao or HashiCorp Vault, ENGINE/NAME as `bao kv get` takes it; several with commas; empty: "
    "no mirror there",
    Names(
        rf"{_SEGMENT}(?:/{_SEGMENT}){{1,15}}",
        "the path of the engine and the secret's name, with slashes between (letters, digits and _.@=:-)",
    ),
    prompt="paths of the secrets in OpenBao or HashiCorp Vault that mirror it, with commas; leave this for none",
)
ADDRESS = Field(
    "vault_address",
    "address of the OpenBao or HashiCorp Vault server that this login is for",
    HttpsAddress(paths=("", "/v1")),
    prompt="https address of the OpenBao or HashiCorp Vault server",
)
NAMESPACE = Field(
    "vault_namespace",
    "namespace that login and secrets are in; empty: none",
    Text(rf"{_FOLDER}/?", "a namespace's path, such as plant/team"),
    prompt="namespace of the login and the secrets; leave this for none",
)
ROLE_ID = Field(
    "vault_role_id",
    "role id of the AppRole that the script logs in as",
    TEXT,
    prompt="role id of the AppRole; leave this for another way to log in",
)
SECRET_ID = Field(
    "vault_secret_id",
    "a secret id of that AppRole",
    TEXT,
    prompt="secret id of that AppRole",
    type="secret",
)
JWT_ROLE = Field(
    "vault_jwt_role",
    "in place of an AppRole: the role for a login with a JWT",
    Text(_SEGMENT, "a role's name"),
    prompt="role for a login with a JWT; leave this for another way to log in",
)
JWT_FILE = Field(
    "vault_jwt_file",
    "file on the Gateway's host that has the JWT, such as a Kubernetes service account's",
    _FILE,
    prompt="path of the file with the JWT",
)
AUTH_PATH = Field(
    "vault_auth_path",
    "where the way to log in is enabled; empty: at `approle`, or `jwt`",
    Text(_FOLDER, "a path such as approle or kubernetes"),
    prompt="path at which AppRole or JWT is enabled; leave this for approle or jwt",
)
TOKEN_FILE = Field(
    "vault_token_file",
    "in place of a login: file on the Gateway's host with a token, which an agent there keeps fresh",
    _FILE,
    prompt="path of a file with a token; leave this for another way to log in",
)
ALLOW_VAULT_PATHS = Field(
    "allow_vault_paths",
    "secrets that this login may write, as `vault_path` names them, with commas, * for any characters; empty: any",
    NAMES,
    prompt="secrets that this login may write, with commas, such as secret/plant/*; leave this for any",
)
_LOGIN: Fields = (ADDRESS, NAMESPACE, ROLE_ID, SECRET_ID, JWT_ROLE, JWT_FILE, AUTH_PATH, TOKEN_FILE)
ADMIN_FIELDS: Fields = (*_LOGIN, ALLOW_VAULT_PATHS, CA_BUNDLE)
CONFIGURATION_FIELDS: Fields = ADMIN_FIELDS

# By way to log in: the fields that it takes.
_WAYS: Sequence[tuple[str, Fields]] = (
    ("approle", (ROLE_ID, SECRET_ID)),
    ("jwt", (JWT_ROLE, JWT_FILE)),
    ("token", (TOKEN_FILE,)),
)


@dataclass(frozen=True, repr=False)
class Login:
    """Who logs in, where. way: `approle`, `jwt` or `token`. role: of AppRole its id. file: what has the JWT or token.

    mount: where the way is enabled. record: the one that all this stands in.
    """

    address: str
    way: str
    namespace: str = ""
    mount: str = ""
    role: str = ""
    secret: Secret = field(default_factory=lambda: Secret(""))
    file: str = ""
    record: Record | None = field(default=None, compare=False)

    @property
    def host(self) -> str:
        """The server's host, with its port where that is another than 443."""
        return self.address.removeprefix("https://")


@dataclass(frozen=True, repr=False)
class Place:
    """A secret, and who looks at it."""

    path: str
    login: Login


def fields(shape: Shape) -> Fields:
    """Return the fields that ask for a mirror."""
    return (PATHS, *previous.fields(shape, PATHS), ADOPT_SECRETS)


def read(job: Job, shape: Shape, target: Target) -> Sequence[MirrorSpec]:
    """Return the mirrors that a record's `vault_path` asks for, none where it is empty.

    Raises BadInput for a login that is none, or is not told where it goes, and for a path that its owners do not allow.
    """
    paths, second = PATHS.read(job.user), previous.names(job, shape, PATHS)
    if not paths:
        return ()
    login = _find_login(job)
    assert login.record  # noqa: S101 - for the type checker: it was found in one
    limit = Limit.of(ALLOW_VAULT_PATHS, job.owners_of(login.record.uid))
    for path in (*paths, *second):
        limit.check(f"{job.user.shown}: secret {path} in OpenBao or Vault", path)

    def spec(path: str, its_shape: Shape) -> MirrorSpec:
        return _spec(Place(path, login), Adoption.of(job, its_shape), target.tag_value, limit)

    return previous.specs(spec, paths, second, shape, PATHS)


def _spec(place: Place, adoption: Adoption, owner: str, limit: Limit) -> MirrorSpec:
    def build(session: Session) -> Mirror:
        # Imported here, as it imports this module.
        from pam_scripts.stores.openbao.client import Client  # noqa: PLC0415
        from pam_scripts.stores.openbao.mirror import SecretMirror  # noqa: PLC0415

        return SecretMirror(Client(place.login, session), place.path, adoption, owner)

    login = place.login
    return MirrorSpec(
        f"OpenBao/Vault at {login.host}",
        build,
        # What a look asks for goes side by side.
        {login.host: 2},
        ca_bundle=CA_BUNDLE.read(login.record) if login.record else "",
        query=MirrorQuery("pam_scripts.stores.openbao.survey", place, [place.path], LABEL, login),
        limits=(limit,),
    )


def _find_login(job: Job) -> Login:
    """Return the login of the first attached record that has one, or else of the PAM Configuration."""
    records = [*job.attached, *([job.configuration] if job.configuration else [])]
    record = next((one for one in records if any(one.get(each.label) for each in _LOGIN)), None)
    if record is None:
        raise NoLogin(
            f"{job.user.shown}: field '{LABEL}' asks for a mirror, and no record has a login to OpenBao or Vault",
            next_step=f"attach a record with '{ADDRESS.label}', '{ROLE_ID.label}' and '{SECRET_ID.label}', or enter "
            "the three into the PAM configuration",
        )
    found = {each.label: each.read(record) for each in _LOGIN}
    ways = [(way, asked) for way, asked in _WAYS if any(found[each.label] for each in asked)]
    way, asked = ways[0] if ways else _WAYS[0]
    for each in (ADDRESS, *asked):
        if not found[each.label]:
            raise BadInput(f"{record.shown}: field '{each.label}' is empty; enter {each.meaning}")
    if len(ways) > 1:
        one, other = (each[0].label for _, each in ways[:2])
        raise BadInput(
            f"{record.shown}: fields '{one}' and '{other}' are two ways to log in to {found[ADDRESS.label]}",
            next_step="empty those of one of them",
        )
    return Login(
        address=found[ADDRESS.label],
        way=way,
        namespace=found[NAMESPACE.label].strip("/"),
        mount=found[AUTH_PATH.label] or way,
        role=found[ROLE_ID.label] or found[JWT_ROLE.label],
        secret=Secret(found[SECRET_ID.label]),
        file=found[JWT_FILE.label] or found[TOKEN_FILE.label],
        record=record,
    )
