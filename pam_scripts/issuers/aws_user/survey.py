"""IAM users, as an audit looks at them: their keys, and when each was last used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus

from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.issuers.aws_user import UserSettings
from pam_scripts.issuers.aws_user.client import Iam
from pam_scripts.issuers.aws_user.refusals import INACTIVE, KEY_ID_UNKNOWN, NO_USER
from pam_scripts.logins import aws
from pam_scripts.rotation import labels
from pam_scripts.rotation.roles import Key
from pam_scripts.rotation.seen import SeenTarget, SurveyResult, Trouble


def link(spec: IssuerSpec) -> str:
    """Return the user's page in the console; empty for China and governments."""
    settings = spec.details
    assert isinstance(settings, UserSettings)  # noqa: S101 - for the type checker: this module is asked for these alone
    if settings.region.startswith(("cn-", "us-gov-", "us-iso")):
        return ""
    return f"https://console.aws.amazon.com/iam/home#/users/details/{settings.name}?section=security_credentials"


def survey(specs: Sequence[IssuerSpec], session: Session, say: Callable[[str], None]) -> list[SurveyResult]:
    """Look at the users of specs that share a login; return what is seen of each, in their order."""
    found = []
    for number, spec in enumerate(specs, 1):
        found.append(_look(spec, session))
        say(f"aws iam: {number} of {len(specs)} users")
    return found


def _look(spec: IssuerSpec, session: Session) -> SurveyResult:
    settings, group = spec.details, spec.group
    assert isinstance(settings, UserSettings)  # noqa: S101 - for the type checker: this module is asked for these alone
    assert isinstance(group, tuple)  # noqa: S101 - the same
    region, identity = group
    assert isinstance(identity, aws.Identity)  # noqa: S101 - the same
    name = f"user {settings.name}"
    try:
        iam = Iam(region, identity, session)
        user = retrying(session.deadline, partial(iam.user, settings.name))
        listed = retrying(session.deadline, partial(iam.keys, settings.name))
        used = {key.id: retrying(session.deadline, partial(iam.last_used, key.id)) for key in listed}
    except PamScriptError as error:
        if isinstance(error, ApiError) and NO_USER.matches(error.name):
            gone = Trouble("gone", f"{name}: {error.cause}", error.next_step)
            return SurveyResult(SeenTarget(settings.name, name, trouble=(gone,)))
        unknown = isinstance(error, ApiError) and (
            error.code == HTTPStatus.UNAUTHORIZED
            or any(one.matches(error.name) for one in (KEY_ID_UNKNOWN, aws.KEY_ENDED, aws.WRONG_SECRET))
        )
        code = "admin-refused" if unknown else "not-readable"
        return SurveyResult(troubles=[Trouble(code, error.cause, error.next_step)])
    held = [key for key in listed if key.id == settings.held.key_id]
    dead = [Trouble("cannot-log-in", f"{name}: {INACTIVE.words}", INACTIVE.way_out) for key in held if not key.active]
    keys = [Key(key.id, _label(settings, key.id), key.created_at) for key in listed]
    return SurveyResult(
        SeenTarget(
            user.user_id,
            name,
            keys,
            known_as=(user.user_id, user.arn, settings.name),
            last_used={key_id: moment for key_id, moment in used.items() if moment},
            tells_use=True,
            trouble=dead,
        )
    )


def _label(settings: UserSettings, key_id: str) -> str:
    """Return the label that a key would have, if IAM's keys had any."""
    rotation_id = settings.known.get(key_id)
    return labels.label(settings.owner, rotation_id) if rotation_id else ""
