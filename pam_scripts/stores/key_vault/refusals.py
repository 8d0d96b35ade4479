"""What Key Vault's refusals mean.

https://learn.microsoft.com/azure/key-vault/general/rest-error-codes
https://learn.microsoft.com/azure/key-vault/general/azure-policy
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pam_scripts.core.refusals import Refusal

SYSTEM = "key vault"

GRANT = (
    "grant the role 'Key Vault Secrets Officer' on the vault: az role assignment create "
    "--role 'Key Vault Secrets Officer' --assignee CLIENT_ID --scope VAULT_ID"
)

DELETED = Refusal(
    "ObjectIsDeletedButRecoverable",
    "a deleted secret of this name still exists",
    "recover it, or purge it",
)

REFUSALS: Sequence[Refusal] = (
    Refusal("ForbiddenByRbac", "the Azure credential has no role for it", GRANT),
    Refusal(
        "ForbiddenByPolicy",
        "the vault's access policy does not allow it",
        "add get, list and set of secrets to the vault's access policy, for the credential's application",
    ),
    Refusal(
        "ForbiddenByFirewall",
        "the vault's firewall does not let this host's address in",
        "add that address to the vault's networking, the proxy's where there is one; no role is missing",
    ),
    Refusal(
        "ForbiddenByConnection",
        "the vault can be reached only through its private endpoint",
        "make this host resolve and reach the vault's name through that endpoint, not the proxy; no role is missing",
    ),
    # Without a word within: it is no role, no access policy and no firewall that has said no.
    Refusal(
        "Forbidden",
        "an Azure Policy forbids it",
        "look at the policies assigned to the vault: one that asks for an end is met by 'expiry_days'; no role is "
        "missing",
    ),
    DELETED,
)
"""Codes of Key Vault for what it refuses: the inner one where there is one."""

PASSING: Sequence[Refusal] = (
    Refusal(
        "ObjectIsBeingDeleted",
        "the secret is being deleted",
        "enter another name, or recover it",
        transient=True,
    ),
    Refusal(
        "ObjectIsBeingRecovered",
        "the secret is being recovered",
        "run the rotation again",
        transient=True,
    ),
)
"""Those that a run waits for."""

KNOWN = (*REFUSALS, *PASSING)

WRONG_TENANT = "check that the Azure credential belongs to the vault's tenant"


def code_in(error: object) -> str:
    """Return Key Vault's own name for a refusal, of the object `error` in its answer; empty where it gives none."""
    if not isinstance(error, Mapping):
        return ""
    inner = error.get("innererror")
    code = inner.get("code") if isinstance(inner, Mapping) else None
    return str(code or error.get("code") or "")
