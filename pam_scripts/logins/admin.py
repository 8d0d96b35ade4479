"""The login of a system's administrator: which record has it, and at which servers it may be used."""

from __future__ import annotations

from dataclasses import dataclass

from pam_scripts.core.errors import BadInput, NoLogin
from pam_scripts.core.fields import Field, Record
from pam_scripts.core.limits import Limit
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import ALLOW_TARGETS, CA_BUNDLE


@dataclass(frozen=True)
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


def find_admin(job: Job, system: str, url: Field[str], urls: Field[tuple[str, ...]]) -> Admin:
    """Return who does what a job asks for.

    The login is the attached record's that has `login`, `password` and the servers' addresses, else the PAM
    Configuration's `SYSTEM_admin_login` and `SYSTEM_admin_password`. It is used only at the servers named beside it, of
    which the PAM User record chooses one. system: as messages name it. url, urls: the field of the PAM User record,
    and the one beside a login. Raises NoLogin where there is no login, or several, and BadInput where another server is
    asked for.
    """
    login, password = (f"{system.lower()}_admin_{what}" for what in ("login", "password"))
    candidates = [record for record in job.attached if record.has("login", "password", urls.label)]
    if len(candidates) > 1:
        raise NoLogin(
            f"{len(candidates)} attached records have a login and a field '{urls.label}': "
            + ", ".join(record.shown for record in candidates),
            next_step=f"keep that field in the {system} admin record only",
        )
    configuration = job.configuration
    if candidates:
        source, login, password = candidates[0], "login", "password"
    elif configuration and configuration.has(login, password, urls.label):
        source = configuration
    else:
        raise NoLogin(
            f"no {system} admin credential: no attached record has 'login', 'password' and '{urls.label}'",
            next_step=f"attach one to the script, or enter '{login}', '{password}' and '{urls.label}' in the PAM "
            "Configuration",
        )
    owners = job.owners_of(source.uid)
    return Admin(
        source,
        source.get(login),
        source.secret(password),
        _server(job, source, url, urls),
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
