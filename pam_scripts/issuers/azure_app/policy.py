"""Application management policies: what a tenant allows of client secrets, as far as the admin may read it.

https://learn.microsoft.com/graph/api/resources/applicationauthenticationmethodpolicy
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from pam_scripts.core.errors import ApiError
from pam_scripts.core.refusals import find_refusal
from pam_scripts.core.times import parse_iso
from pam_scripts.issuers.azure_app.graph import FORBIDDEN_BY_POLICY, REFUSALS, TOO_LONG_FOR_POLICY, Graph

_DURATION = re.compile(
    r"P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:\.\d+)?S)?)?"
)
# Days of a year and of a month.
_YEAR, _MONTH = 365, 30


@dataclass(frozen=True, repr=False)
class Policy:
    """What a policy allows. forbidden: no client secret at all. longest: the longest life of one, None for any."""

    forbidden: bool = False
    longest: timedelta | None = None

    def breach(self, life: timedelta | None) -> tuple[str, str]:
        """Return how a secret of such a life breaks it, and the way out; empty where it does not."""
        if self.forbidden:
            refusal = find_refusal(FORBIDDEN_BY_POLICY, REFUSALS)
            return (refusal.words, refusal.way_out) if refusal else ("", "")
        if self.longest is None or (life and life <= self.longest):
            return "", ""
        refusal = find_refusal(TOO_LONG_FOR_POLICY, REFUSALS)
        return (refusal.words if refusal else "", f"'expiry_days' can be {self.longest.days} at most")


FREE = Policy()


def read_policy(graph: Graph, path: str, application: Mapping[str, Any]) -> Policy:
    """Return what binds one application: its own policy, else the tenant's; nothing where neither may be read."""
    action = "read the policies on client secrets"
    own = _ask(graph, f"{path}/appManagementPolicies", action).get("value")
    if isinstance(own, list) and own and isinstance(own[0], Mapping):
        return judge(own[0].get("restrictions"), own[0].get("isEnabled"), application)
    return of_tenant(read_default(graph), application)


def read_default(graph: Graph) -> Mapping[str, Any]:
    """GET the tenant's policy; empty where it may not be read."""
    return _ask(graph, "/policies/defaultAppManagementPolicy", "read the policies on client secrets")


def of_tenant(policy: Mapping[str, Any], application: Mapping[str, Any]) -> Policy:
    """Return what the tenant's policy asks of an application."""
    return judge(policy.get("applicationRestrictions"), policy.get("isEnabled"), application)


def judge(rules: object, is_enabled: object, application: Mapping[str, Any]) -> Policy:
    """Return what a policy's rules, as Graph shows them, ask of an application."""
    listed = rules.get("passwordCredentials") if isinstance(rules, Mapping) else None
    if is_enabled is not True or not isinstance(listed, list):
        return FREE
    binding = [one for one in listed if isinstance(one, Mapping) and _binds(one, application)]
    kinds = {str(one.get("restrictionType")) for one in binding}
    lives = [life for one in binding if one.get("restrictionType") == "passwordLifetime" if (life := _duration(one))]
    return Policy("passwordAddition" in kinds, min(lives, default=None))


def _ask(graph: Graph, path: str, action: str) -> Mapping[str, Any]:
    try:
        return graph.call("GET", path, action)
    except ApiError as error:
        # Not ours to know, or an older cloud without them: the refusal of a secret will tell.
        if error.code in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST):
            return {}
        raise


def _binds(rule: Mapping[str, Any], application: Mapping[str, Any]) -> bool:
    if str(rule.get("state") or "enabled") != "enabled":
        return False
    after, created = rule.get("restrictForAppsCreatedAfterDateTime"), application.get("createdDateTime")
    try:
        return not after or not created or parse_iso(str(created)) >= parse_iso(str(after))
    except ValueError:
        return True


def _duration(rule: Mapping[str, Any]) -> timedelta | None:
    found = _DURATION.fullmatch(str(rule.get("maxLifetime") or ""))
    if not found:
        return None
    given = {name: int(number or 0) for name, number in found.groupdict().items()}
    years, months = divmod(12 * given.pop("years") + given.pop("months"), 12)
    return timedelta(**given) + timedelta(days=years * _YEAR + months * _MONTH)
