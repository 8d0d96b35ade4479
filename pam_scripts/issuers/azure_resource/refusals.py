"""What Azure refuses of a resource's keys, and what a rotation does, in words."""

from __future__ import annotations

from collections.abc import Sequence

from pam_scripts.core.refusals import Refusal

SYSTEM = "azure"

_ID = "check 'resource_id'"
GRANT = (
    "grant read, listKeys and regenerateKey on the resource, as a custom role; docs/rotate_azure_resource_key.md has it"
)

LOCKED = Refusal(
    "ScopeLocked", "a read-only lock forbids it", "remove the lock: with it keys can be neither read nor set"
)

# https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
BY_CODE: Sequence[Refusal] = (
    Refusal("AuthorizationFailed", "the Azure credential lacks a right", GRANT),
    Refusal(
        "RequestDisallowedByPolicy",
        "an Azure Policy forbids it",
        "have the policy's owner exempt the resource; no right is missing",
    ),
    Refusal(
        "DenyAssignmentAuthorizationFailed",
        "a deny assignment forbids it",
        "have it taken off the resource, its group or its subscription; no right is missing",
    ),
    LOCKED,
    Refusal(
        "ReadOnlyDisabledSubscription",
        "the resource's subscription is disabled, and may only be read",
        "have the subscription enabled again",
    ),
    Refusal(
        "InvalidAuthenticationTokenTenant",
        "the subscription is another tenant's",
        f"{_ID} and 'tenant_id': the Azure credential must be of the subscription's tenant",
    ),
    Refusal("SubscriptionNotFound", "there is no such subscription in this cloud", f"{_ID}, and 'azure_cloud'"),
    Refusal("ResourceGroupNotFound", "the subscription has no such resource group", _ID),
    Refusal("ResourceNotFound", "the resource group has no such resource", _ID),
)
"""Codes of Azure Resource Manager for what it refuses."""

KEYS_DISABLED = Refusal(
    "keys-disabled",
    "access keys are disabled, and let nobody in",
    "enable access keys, which ends all connections of a Managed Redis; or let its users log in by Entra, and stop "
    "rotating the key",
    answer="`disableAccessKeyAuthentication` is true, `accessKeysAuthentication` is Disabled, or "
    "`allowSharedKeyAccess` is false",
)
BEING_CHANGED = Refusal(
    "being-changed",
    "Azure has not ended an earlier change of it",
    "rotate again once Azure shows it as Succeeded",
    answer="`provisioningState` is not Succeeded, or `resourceState` not Running",
)
FIRST_TIME = Refusal(
    "first-time",
    "this would be the first rotation",
    "make sure that nobody uses the slot that is regenerated, then set 'take_over' to 'True'; 'keep_previous_keys' of "
    "1 leaves the other one alive until the next rotation",
    answer="the record's `key_slot` was set by no rotation, and `take_over` is not True",
)
BOTH_IN_USE = Refusal(
    "both-in-use",
    "the record and its mirrors do not hold the same key, so that to regenerate either one would cut somebody off",
    "enter the key in use into the record and every mirror by hand, then rotate again",
    answer="one store holds the one key, another one the other, and no rotation that was interrupted explains it",
)
NOT_PROVABLE = Refusal(
    "not-provable",
    "no key can be proven from this host",
    "let this host connect to it, or set 'require_proof' to 'False'",
    answer="no connection to the resource itself, or its firewall refuses this host, and `require_proof` is True",
)
REFUSALS: Sequence[Refusal] = (*BY_CODE, KEYS_DISABLED, BEING_CHANGED, FIRST_TIME, BOTH_IN_USE, NOT_PROVABLE)
"""Those, and the states in which no rotation begins."""
