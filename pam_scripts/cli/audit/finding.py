"""One thing that is wrong with a rotation: what it is called, how urgent it is, and the way out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from pam_scripts.core.errors import PamScriptError

Severity = Literal["broken", "soon", "look"]
"""broken: does not work now, or the next rotation fails. soon: will be. look: somebody should decide."""

SEVERITIES: tuple[Severity, ...] = ("broken", "soon", "look")

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "expired": "the key in Keeper has expired",
        "no-live-key": "the target has no live key",
        "not-alive": "the key in Keeper is not among the live keys",
        "archived": "the target is archived",
        "gone": "the target is not there",
        "identity-provider": "the application can have no access keys (OIDC)",
        "user": "the user's keys cannot work",
        "setting": "a field is missing or wrong",
        "attached": "an attached record is not shared",
        "no-admin": "no admin credential",
        "admin-refused": "the admin credential is refused",
        "admin-rights": "the admin credential lacks a right",
        "admin-own-key": "the admin credential is a key of the target itself",
        "not-readable": "the issuer could not be asked",
        "not-editable": "the record is not editable",
        "not-pam-user": "the record is not a PAM User",
        "duplicate-field": "a field stands in the record twice",
        "half-credential": "the record holds half a credential",
        "other-record": "a live key belongs to another record",
        "same-target": "several records rotate the same target",
        "vault-unreadable": "the vault could not be asked",
        "vault-missing": "a secret is missing in Key Vault",
        "vault-deleted": "a deleted secret keeps its name in Key Vault",
        "vault-disabled": "a secret in Key Vault is disabled",
        "vault-foreign": "a secret in Key Vault is another target's",
        "vault-mixed": "Key Vault holds a mixed pair",
        "vault-differs": "Key Vault holds another rotation than Keeper",
        "vaults-differ": "the vaults hold different rotations",
        "last-failed": "the last rotation failed",
        "expires-first": "the key expires before its next rotation",
        "expires-soon": "the key expires soon",
        "short-life": "keys live shorter than the time between rotations",
        "overdue": "the rotation is overdue",
        "user-login": "the user must log in, or the key dies early",
        "dry-run": "'dry_run' was left on",
        "diagnose": "'diagnose' was left on",
        "lease": "a killed rotation left its lease",
        "left-behind": "a key that nobody holds was left behind",
        "old-keys": "old keys are alive",
        "vault-expiry": "the expiry date in Key Vault is wrong",
        "record-expiry": "the expiry date in Keeper is wrong",
        "take-over": "'take_over' was left on",
        "visible-value": "the secret value is not hidden",
        "never-rotated": "never rotated yet",
    }
)
"""What each finding is called; the order is that of urgency."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its code (one of TITLES), what exactly, and what to do about it."""

    code: str
    severity: Severity
    what: str
    way_out: str

    @property
    def title(self) -> str:
        """What this kind of finding is called."""
        return TITLES[self.code]


def problem(code: str, severity: Severity, error: PamScriptError, way_out: str = "", subject: str = "") -> Finding:
    """Return the finding for an error that a script would end with. subject: words at its start to leave out."""
    what = error.cause.removeprefix(f"{subject}: ") if subject else error.cause
    what, _, inner = what.partition("; ")
    return Finding(code, severity, what, error.next_step or inner or way_out)
