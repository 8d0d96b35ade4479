"""What Azure Resource Manager refuses, by its own codes, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from pam_scripts.core.refusals import Refusal

SYSTEM = "container apps"

NAMES_WRONG = "check 'container_apps' and 'subscription_id'"
RESTART = "Microsoft.App/containerApps/revisions/restart/action"
GRANT = f"grant Microsoft.App/containerApps/read, .../revisions/read and {RESTART} on it"

# https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources
LOCKED = Refusal("ScopeLocked", "a lock forbids it", "remove the read-only lock")
DISABLED = Refusal(
    "ReadOnlyDisabledSubscription",
    "the subscription is disabled, and may only be read",
    "have the subscription enabled again",
)

# https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
REFUSALS: Sequence[Refusal] = (
    Refusal("AuthorizationFailed", "the Azure credential lacks a right", GRANT),
    Refusal(
        "RequestDisallowedByPolicy",
        "an Azure Policy forbids it",
        "have the policy's owner exempt the app; no right is missing",
    ),
    Refusal(
        "DenyAssignmentAuthorizationFailed",
        "a deny assignment forbids it",
        "have it taken off the app, its group or its subscription; no right is missing",
    ),
    LOCKED,
    DISABLED,
    Refusal(
        "InvalidAuthenticationTokenTenant",
        "the subscription is another tenant's",
        "check 'subscription_id' and 'tenant_id': the Azure credential must be of the subscription's tenant",
    ),
    Refusal(
        "SubscriptionNotFound",
        "there is no such subscription in this cloud",
        f"{NAMES_WRONG}, and 'azure_cloud'",
    ),
    Refusal("ResourceGroupNotFound", "the subscription has no such resource group", NAMES_WRONG),
    Refusal("ResourceNotFound", "the resource group has no such container app", NAMES_WRONG),
)
"""Codes of Azure Resource Manager for what it refuses."""
