"""Azure resources, as an audit looks at them: whether each is there, whether its keys are enabled, how old the key is.

No key is read: that the record's key is still the one in its slot shows only when a rotation looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any

from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.core.times import parse_iso
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.issuers.azure_resource import ResourceSettings
from pam_scripts.issuers.azure_resource.arm import Arm
from pam_scripts.issuers.azure_resource.refusals import KEYS_DISABLED
from pam_scripts.logins import azure
from pam_scripts.rotation.roles import NOT_TOLD, Key
from pam_scripts.rotation.seen import SeenTarget, SurveyResult, Trouble, look_at_each

_PORTALS = {
    "management.azure.com": "portal.azure.com",
    "management.usgovcloudapi.net": "portal.azure.us",
    "management.chinacloudapi.cn": "portal.azure.cn",
}


def link(spec: IssuerSpec) -> str:
    """Return the resource's page in the portal of its cloud."""
    settings = spec.details
    portal = _PORTALS.get(spec.server, "")
    return f"https://{portal}/#@/resource{settings.resource.id}" if isinstance(settings, ResourceSettings) else ""


def survey(specs: Sequence[IssuerSpec], session: Session, say: Callable[[str], None]) -> list[SurveyResult]:
    """Look at the resources of specs that share a login; return what is seen of each, in their order."""
    return look_at_each(specs, partial(_look, session=session), say, system="azure", noun="resources")


def _look(spec: IssuerSpec, session: Session) -> SurveyResult:
    settings, identity = spec.details, spec.group
    assert isinstance(settings, ResourceSettings)  # noqa: S101 - for the type checker: this module is asked for these alone
    assert isinstance(identity, azure.Identity)  # noqa: S101 - the same
    named, arm = settings.resource, Arm(identity, settings.resource, session)
    known_as = (named.id.lower(), named.name)
    name = f"{named.kind.name} {named.name}"
    try:
        properties = retrying(session.deadline, arm.read)
        missing = retrying(session.deadline, arm.missing)
    except PamScriptError as error:
        if isinstance(error, ApiError) and error.code == HTTPStatus.NOT_FOUND:
            gone = Trouble("gone", f"{name}: {error.cause}", error.next_step)
            return SurveyResult(SeenTarget(named.id, name, known_as=known_as, trouble=(gone,)))
        name, code = (error.name, error.code) if isinstance(error, ApiError) else ("", None)
        refused = name.startswith("AADSTS") or code == HTTPStatus.UNAUTHORIZED
        return SurveyResult(
            troubles=[Trouble("admin-refused" if refused else "not-readable", error.cause, error.next_step)]
        )
    dead = (
        (Trouble("cannot-log-in", f"{name}: {KEYS_DISABLED.words}", KEYS_DISABLED.way_out),)
        if named.kind.disabled(properties)
        else ()
    )
    lacking = [Trouble("admin-rights", *_parted(one)) for one in missing]
    return SurveyResult(SeenTarget(named.id, name, _keys(settings, properties), known_as, trouble=dead), lacking)


def _keys(settings: ResourceSettings, properties: Mapping[str, Any]) -> list[Key]:
    """Return the key that the record holds, with the age of its slot, where Azure tells that."""
    slot = settings.held.key_id.partition("-")[0]
    if slot not in settings.resource.kind.slots:
        return []
    times, created_at = properties.get("keyCreationTime"), NOT_TOLD
    with suppress(ValueError):
        created_at = _moment(times.get(slot)) if isinstance(times, Mapping) else NOT_TOLD
    return [Key(settings.held.key_id, "", created_at)]


def _moment(text: object) -> datetime:
    return parse_iso(text) if isinstance(text, str) else NOT_TOLD


def _parted(words: str) -> tuple[str, str]:
    what, _, way_out = words.partition(": ")
    return what, way_out
