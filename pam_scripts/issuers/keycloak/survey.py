"""Keycloak, as an audit looks at it: whether each client is there, may be rotated, and when its secret ends.

The server shows a client together with its secret to whoever may set it: nothing here goes by what it is, only whether
a former one is kept beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus

from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.issuers.keycloak.client import EXPIRES, Client, Endpoint
from pam_scripts.issuers.keycloak.client_secret import NamedClient, no_policy_keeps_former, refuse_unfit, rotated_key
from pam_scripts.issuers.keycloak.refusals import NO_CLIENT, NO_REALM, NO_RIGHT, SYSTEM
from pam_scripts.rotation.roles import NOT_TOLD, Key
from pam_scripts.rotation.seen import SeenTarget, SurveyResult, Trouble, look_at_each


def link(spec: IssuerSpec) -> str:
    """Return the console's page of the realm's clients: a login that no server knows yet may be a password."""
    realm = spec.target.tag_value.partition("/")[0]
    return f"{spec.group.url}/admin/master/console/#/{realm}/clients" if isinstance(spec.group, Endpoint) else ""


def survey(specs: Sequence[IssuerSpec], session: Session, say: Callable[[str], None]) -> list[SurveyResult]:
    """Look at the clients of specs that share a server and a login; return what is seen of each, in their order."""
    return look_at_each(specs, partial(_look, session=session), say, system=SYSTEM, noun="clients")


def _look(spec: IssuerSpec, session: Session) -> SurveyResult:
    endpoint, named = spec.group, spec.details
    assert isinstance(endpoint, Endpoint)  # noqa: S101 - for the type checker: this module is asked for these alone
    assert isinstance(named, NamedClient)  # noqa: S101 - the same
    client = Client(endpoint, named.realm, session)
    try:
        uuid = retrying(session.deadline, partial(client.find, named.client_id, named.shown))
        if not uuid:
            gone = Trouble("gone", f"{named.shown}: {NO_CLIENT.words}", NO_CLIENT.way_out)
            return SurveyResult(SeenTarget(named.client_id, named.shown, trouble=(gone,)))
        present = retrying(session.deadline, partial(client.read, uuid, named.client_id))
    except PamScriptError as error:
        return SurveyResult(troubles=[Trouble(_code(error), error.cause, error.next_step)])
    name = f"client {named.client_id}"
    try:
        refuse_unfit(present, name)
        if named.keep and not present.follows_policy:
            raise no_policy_keeps_former(name)
        unfit = []
    except PamScriptError as error:
        code = "admin-rights" if NO_RIGHT.words in error.cause else "setting"
        unfit = [Trouble(code, error.cause, error.next_step)]
    keys = [Key(named.client_id, "", NOT_TOLD, present.end(EXPIRES), uuid)] if present.secret else []
    shown = f"{name}, whose secret a client policy rotates" if present.follows_policy else name
    return SurveyResult(SeenTarget(uuid, shown, [*keys, *rotated_key(present)], named.names(uuid)), unfit)


def _code(error: PamScriptError) -> str:
    """Return the audit's word for what keeps a client from being read."""
    if not isinstance(error, ApiError):
        return "not-readable"
    named = {NO_RIGHT.codes[0]: "admin-rights", NO_REALM.codes[0]: "setting"}
    return named.get(error.name, "admin-refused" if error.code == HTTPStatus.UNAUTHORIZED else "not-readable")
