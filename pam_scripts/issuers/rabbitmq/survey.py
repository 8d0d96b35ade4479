"""RabbitMQ, as an audit looks at it: whether each user is there, who has a password, and who is an administrator.

No password is read. The server shows a user together with the hash of the password: here only whether there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus

from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.issuers.rabbitmq.client import Client, Endpoint, User
from pam_scripts.issuers.rabbitmq.passwords import Users, missing_tag
from pam_scripts.issuers.rabbitmq.refusals import SYSTEM
from pam_scripts.rotation.roles import NOT_TOLD, Key
from pam_scripts.rotation.seen import SeenTarget, SurveyResult, Trouble, look_at_each


def link(spec: IssuerSpec) -> str:
    """Return the page of the server's users: a login that no server knows yet may be a password in a wrong field."""
    return f"{spec.group.url}/#/users" if isinstance(spec.group, Endpoint) else ""


def survey(specs: Sequence[IssuerSpec], session: Session, say: Callable[[str], None]) -> list[SurveyResult]:
    """Look at the users of specs that share a server and a login; return what is seen of each, in their order."""
    endpoint = specs[0].group
    assert isinstance(endpoint, Endpoint)  # noqa: S101 - for the type checker: this module is asked for these alone
    client = Client(endpoint, session)
    try:
        # Who is no administrator is shown no user.
        missing = missing_tag(client.login_shown, retrying(session.deadline, client.own_tags))
    except PamScriptError as error:
        return [_unasked(error)] * len(specs)
    if missing:
        what, _, way_out = missing.partition(": ")
        return [SurveyResult(troubles=[Trouble("admin-rights", what, way_out)])] * len(specs)
    return look_at_each(specs, partial(_look, client=client, session=session), say, system=SYSTEM, noun="records")


def _look(spec: IssuerSpec, client: Client, session: Session) -> SurveyResult:
    users = spec.details
    assert isinstance(users, Users)  # noqa: S101 - as above
    there: list[User] = []
    for name in users.names:
        try:
            there.append(retrying(session.deadline, partial(client.user, name, users.shown[name])))
        except PamScriptError as error:
            if isinstance(error, ApiError) and error.code == HTTPStatus.NOT_FOUND:
                gone = Trouble("gone", error.cause, error.next_step)
                return SurveyResult(SeenTarget(users.username, users.shown[name], trouble=(gone,)))
            return _unasked(error)
    keys = [Key(users.key_id(user.name), "", NOT_TOLD) for user in there if user.password_hash]
    shown = " and ".join(f"user {name}" for name in users.names)
    target = SeenTarget(users.username, shown, keys, users.names, beside=users.names[1:])
    refused = [users.refused(user, client.username) for user in there]
    return SurveyResult(target, [Trouble("not-allowed", one.cause, one.next_step) for one in refused if one])


def _unasked(error: PamScriptError) -> SurveyResult:
    refused = isinstance(error, ApiError) and error.code == HTTPStatus.UNAUTHORIZED
    return SurveyResult(
        troubles=[Trouble("admin-refused" if refused else "not-readable", error.cause, error.next_step)]
    )
