"""IAM users, as an audit looks at them: their keys, and when each was last used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from http import HTTPStatus

from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.issuers.aws_user import UserSettings
from pam_scripts.issuers.aws_user.client import AccessKey, Iam
from pam_scripts.issuers.aws_user.refusals import IN_USE, INACTIVE, KEY_ID_UNKNOWN, NO_USER, THIRD_KEY
from pam_scripts.issuers.aws_user.whose import is_ours, is_used_by_somebody, label_of, last_use
from pam_scripts.logins import aws
from pam_scripts.rotation.roles import Key
from pam_scripts.rotation.seen import SeenTarget, SurveyResult, Trouble, look_at_each


def link(spec: IssuerSpec) -> str:
    """Return the user's page in the console; empty for China and the US government."""
    settings = spec.details
    assert isinstance(settings, UserSettings)  # noqa: S101 - for the type checker: this module is asked for these alone
    if settings.region.startswith(("cn-", "us-gov-")):
        return ""
    return f"https://console.aws.amazon.com/iam/home#/users/details/{settings.name}?section=security_credentials"


def survey(specs: Sequence[IssuerSpec], session: Session, say: Callable[[str], None]) -> list[SurveyResult]:
    """Look at the users of specs that share a login; return what is seen of each, in their order."""
    return look_at_each(specs, partial(_look, session=session), say, system="aws iam", noun="users")


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
    held = next((key for key in listed if key.id == settings.held.key_id), None)
    is_dead = held is not None and not held.active
    dead = [Trouble("cannot-log-in", f"{name}: {INACTIVE.words}", INACTIVE.way_out)] if is_dead else []
    return SurveyResult(
        SeenTarget(
            user.user_id,
            name,
            # An inactive key logs nobody in.
            [Key(key.id, label_of(settings, key), key.created_at) for key in listed if key.active or key == held],
            known_as=(user.user_id, user.arn, settings.name),
            last_used={key_id: moment for key_id, moment in used.items() if moment},
            tells_use=True,
            trouble=dead,
        ),
        list(_in_the_way(settings, name, listed, used, held)) if held else [],
    )


def _in_the_way(
    settings: UserSettings,
    name: str,
    listed: Sequence[AccessKey],
    used: Mapping[str, datetime | None],
    held: AccessKey,
) -> Iterator[Trouble]:
    """Yield a trouble for each key beside the one in Keeper that a rotation would not delete: a third has no room."""
    for key in listed:
        ours = is_ours(settings, Key(key.id, label_of(settings, key), key.created_at), held, used[key.id])
        if key == held or ours:
            continue
        what = f"{name}: access key {key.id}, {last_use(used[key.id])}, is neither in Keeper nor made by its rotations"
        if not settings.take_over:
            yield Trouble("no-room", what, THIRD_KEY.way_out)
        elif is_used_by_somebody(key, used[key.id], held.created_at):
            yield Trouble("no-room", f"{what}, and somebody uses it", IN_USE.way_out)
