"""The access keys of a Seeq application, as an issuer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from urllib.parse import quote

from pam_scripts.core.errors import ApiError
from pam_scripts.core.fields import Field, Fields, Number, Text
from pam_scripts.core.times import iso
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.issuers.seeq import keys, server
from pam_scripts.issuers.seeq.keys import Keys, read_key, shape
from pam_scripts.issuers.seeq.refusals import ARCHIVED, GRANT, IDENTITY_PROVIDER, NO_APPLICATION, SYSTEM
from pam_scripts.issuers.seeq.server import SERVER_URL, Server, find_admin
from pam_scripts.rotation.roles import Credential, Key
from pam_scripts.rotation.shape import Target

ADMIN_FIELDS: Fields = server.ADMIN_FIELDS
CONFIGURATION_FIELDS: Fields = server.CONFIGURATION_FIELDS
OUTPUTS: Fields = keys.OUTPUTS
SHAPE = shape("seeq-app", "seeq-application-id", "expires")

APPLICATION_ID = Field(
    "application_id",
    "the Seeq ID of the application",
    Text(r"[0-9A-Za-z-]{1,64}", "a Seeq ID: letters, digits, hyphens"),
    required=True,
    prompt="Seeq ID of the application",
)
EXPIRY_DAYS = Field("expiry_days", "life of the new key, in days", Number(1, 3650), default="90")

FIELDS: Fields = (SERVER_URL, APPLICATION_ID, EXPIRY_DAYS)


def read(job: Job) -> IssuerSpec:
    """Return what a record asks for; raise BadInput where that could not be."""
    admin = find_admin(job)
    application_id = APPLICATION_ID.read(job.user)
    return IssuerSpec(
        target=Target(application_id),
        shape=SHAPE,
        build=lambda run, session: ApplicationKeys(Server(admin.endpoint, session, run.say), application_id, run.say),
        hosts={admin.endpoint.host: 1},
        life=timedelta(days=EXPIRY_DAYS.read(job.user)),
        server=admin.endpoint.host,
        login_id=admin.endpoint.login.username,
        group=admin.endpoint,
        survey="pam_scripts.issuers.seeq.survey",
        limit=admin.limit,
        ca_bundle=admin.ca_bundle,
        notes=admin.notes,
    )


class ApplicationKeys(Keys):
    """The access keys of one Seeq application."""

    def __init__(self, server: Server, application_id: str, say: Callable[[str], None]) -> None:
        super().__init__(server, say)
        self._id = application_id
        self._path = f"/applications/{quote(application_id, safe='')}"
        self._name = ""

    @property
    def target(self) -> str:
        """The application as messages name it."""
        return f"application {self._id}" + (f" ({self._name})" if self._name else "")

    @property
    def known_as(self) -> Sequence[str]:
        """The application's Seeq ID."""
        return (self._id,)

    @property
    def login_key_id(self) -> str:
        """What the script is logged in with, which may be an access key."""
        return self._server.username

    def list_keys(self) -> list[Key]:
        """GET /applications/{id}: the keys that are not archived.

        Raises Refused for an application whose keys cannot work: archived, or one that
        authenticates through an identity provider.
        """
        action = f"read {self.target}"
        try:
            application = self._server.get(self._path, action)
        except ApiError as error:
            if error.code == HTTPStatus.NOT_FOUND and not self._name:
                error.next_step = NO_APPLICATION.way_out
            elif error.code == HTTPStatus.FORBIDDEN:
                error.next_step = GRANT
            raise
        listed = application.get("accessKeys") or []
        if application.get("id") is None or not isinstance(listed, list):
            raise ApiError(SYSTEM, action, "the answer is not an application; is a proxy in the way?")
        first, self._name = not self._name, str(application.get("name") or self._id)
        if first:
            self._say(f"Retrieved application: {self._name} ({self._id})")
        if application.get("isArchived"):
            raise ARCHIVED.as_error(f"{SYSTEM}: {action}")
        if application.get("oidcDirectoryId"):
            raise IDENTITY_PROVIDER.as_error(f"{SYSTEM}: {action}")
        return [read_key(item, action) for item in listed if not item.get("isArchived")]

    def missing_rights(self) -> list[str]:
        """Say so where the admin may not make keys for applications."""
        if self._may_administer_users():
            return []
        return [f"the login of {self._server.login_shown} may not make keys: {GRANT}"]

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:
        """POST /applications/{id}/generate-access-key; the answer carries the password, this once."""
        body = {"label": label, "expiry": iso(expires_at) if expires_at else None}
        return self._create(f"{self._path}/generate-access-key", f"create key for {self.target}", body)
