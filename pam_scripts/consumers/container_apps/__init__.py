"""Azure Container Apps: which apps a record asks to have restarted. app.py restarts and watches them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Field, Fields, Names, Text
from pam_scripts.core.http import Session
from pam_scripts.core.limits import NAMES, Limit
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.specs import ConsumerQuery, ConsumerSpec
from pam_scripts.logins import azure
from pam_scripts.rotation.roles import Consumer
from pam_scripts.rotation.shape import Shape

LABEL = "container_apps"

_GROUP = r"[\w.()-]{1,90}"
_APP = r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?"

APPS = Field(
    LABEL,
    "Azure Container Apps to restart, RESOURCE-GROUP/APP, several with commas",
    Names(rf"{_GROUP}/{_APP}", "RESOURCE-GROUP/APP"),
    prompt="RESOURCE-GROUP/APP of Azure Container Apps to restart, with commas; leave this for none",
)
SUBSCRIPTION_ID = Field(
    "subscription_id",
    "the Azure subscription of the container apps",
    Text(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "a GUID"),
    prompt="id of the Azure subscription of the container apps",
)

ALLOW_CONTAINER_APPS = Field(
    "allow_container_apps",
    "apps that this credential may restart, RESOURCE-GROUP/APP, with commas, * for any characters; empty: any",
    NAMES,
    prompt="container apps that this credential may restart, RESOURCE-GROUP/APP, with commas; leave this for any",
)

FIELDS: Fields = (APPS,)
ADMIN_FIELDS: Fields = (*azure.ADMIN_FIELDS, SUBSCRIPTION_ID, ALLOW_CONTAINER_APPS)
CONFIGURATION_FIELDS: Fields = (*azure.CONFIGURATION_FIELDS, SUBSCRIPTION_ID, ALLOW_CONTAINER_APPS)


def read(job: Job, shape: Shape) -> Sequence[ConsumerSpec]:
    """Return the apps that a record names; raise BadInput for one that could not be, or without a subscription."""
    apps = APPS.read(job.user)
    if not apps:
        return ()
    identity = azure.find_identity(job, shape)
    # It stands beside the credential, else in the PAM Configuration.
    subscription = SUBSCRIPTION_ID.first(identity.owners)
    if not subscription:
        raise BadInput(
            f"no record has a field '{SUBSCRIPTION_ID.label}', and '{LABEL}' needs it",
            next_step="enter it in the record with the Azure credential, or in the PAM Configuration",
        )
    limit = Limit.of(ALLOW_CONTAINER_APPS, identity.owners)
    for name in apps:
        limit.check(f"{job.user.shown}: container app {name}", name)

    def build(name: str, session: Session) -> Consumer:
        # Imported here: a run without these apps needs none of it.
        from pam_scripts.consumers.container_apps.app import ContainerApp, Manager  # noqa: PLC0415

        group, _, app_name = name.partition("/")
        return ContainerApp(Manager(identity, session), subscription, group, app_name)

    def query(name: str) -> ConsumerQuery:
        group, _, app_name = name.partition("/")
        place = Group(identity, subscription.lower(), group.lower())
        return ConsumerQuery("pam_scripts.consumers.container_apps.survey", place, app_name)

    hosts = {identity.cloud.manager: 1, identity.cloud.authority: 0}
    return [ConsumerSpec(partial(build, name), hosts, identity.ca_bundle, (limit,), query(name)) for name in apps]


@dataclass(frozen=True, repr=False)
class Group:
    """A resource group with apps, and who logs in for it; apps of one group are looked at together."""

    identity: azure.Identity
    subscription: str
    name: str

    @property
    def path(self) -> str:
        """Where Resource Manager has its apps."""
        group = f"/subscriptions/{self.subscription}/resourceGroups/{quote(self.name)}"
        return f"{group}/providers/Microsoft.App/containerApps"
