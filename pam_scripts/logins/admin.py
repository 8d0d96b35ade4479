"""The login of a system's administrator: which record has it, and at which servers it may be used."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pam_scripts.core.errors import BadInput, NoLogin
from pam_scripts.core.fields import Field, Fields, Record
from pam_scripts.core.limits import Limit
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import ALLOW_TARGETS, CA_BUNDLE


@dataclass(frozen=True, repr=False)
class LoginFields:
    """The fields that hold the login of a system's administrator, and the servers that it may be used at.

    system: as messages name it.
    """

    system: str
    username: Field[str]
    password: Field[str]
    urls: Field[tuple[str, ...]]

    @property
    def configured(self) -> LoginFields:
        """The same as the PAM Configuration has them: `SYSTEM_admin_login` and `SYSTEM_admin_password`."""
        prefix = f"{self.system.lower()}_admin"
        return replace(
            self,
            username=replace(self.username, label=f"{prefix}_login", type="text"),
            password=replace(self.password, label=f"{prefix}_password", type="secret"),
        )

    @property
    def all(self) -> Fields:
        """The login, and the servers."""
        return (self.username, self.password, self.urls)

    @property
    def shown(self) -> str:
        """The labels, as messages list them."""
        return f"'{self.username.label}', '{self.password.label}' and '{self.urls.label}'"

    def are_in(self, record: Record) -> bool:
        """Say whether a record has a value in each."""
        return record.has(*(field.label for field in self.all))


@dataclass(frozen=True, repr=False)
class Admin:
    """Who logs in, and where.

    source: the record that the login stands in. url: the server. limit: for whom it may be used. ca_bundle: path of
    the CA beside it, empty for none.
    """

    source: Record
    username: str
    password: Secret
    url: str
    limit: Limit
    ca_bundle: str


def find_admin(job: Job, url: Field[str], fields: LoginFields) -> Admin:
    """Return who does what a job asks for.

    The login is that of the attached record that has these fields, else the PAM Configuration's. It is used only at the
    servers named beside it, of which the PAM User record chooses one. url: the field that does. Raises NoLogin where
    there is no login, or several, and BadInput where another server is asked for.
    """
    configured, configuration = fields.configured, job.configuration
    candidates = [record for record in job.attached if fields.are_in(record)]
    if len(candidates) > 1:
        raise NoLogin(
            f"{len(candidates)} attached records have a login and a field '{fields.urls.label}': "
            + ", ".join(record.shown for record in candidates),
            next_step=f"keep that field in the {fields.system} admin record only",
        )
    if candidates:
        source = candidates[0]
    elif configuration and configured.are_in(configuration):
        source, fields = configuration, configured
    else:
        raise NoLogin(
            f"no {fields.system} admin credential: no attached record has {fields.shown}",
            next_step=f"attach one to the script, or enter {configured.shown} in the PAM Configuration",
        )
    owners = job.owners_of(source.uid)
    return Admin(
        source,
        source.get(fields.username.label),
        source.secret(fields.password.label),
        _server(job, source, url, fields.urls),
        Limit.of(ALLOW_TARGETS, owners),
        CA_BUNDLE.read(source) if source in owners else "",
    )


def _server(job: Job, source: Record, url: Field[str], urls: Field[tuple[str, ...]]) -> str:
    """Return the server that is asked for, once it is one of those beside the login."""
    asked, named = url.read(job.user), urls.read(source)
    if asked not in named:
        raise BadInput(
            f"{job.user.shown}: field '{url.label}' names {asked}, and {source.shown} allows its login at "
            f"{', '.join(named)} only",
            next_step=f"name one of those, or have the owner of {source.shown} add the server",
        )
    return asked
