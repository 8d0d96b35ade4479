"""The plant of each script: a test that is for all of them asks here."""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.iam_users import IamPlant
from sandbox.messaging import RabbitPlant
from sandbox.plant import AnyPlant, AzureAppPlant, Plant, SeeqUserPlant
from sandbox.publishing import PublishPlant
from sandbox.realm import KeycloakPlant
from sandbox.slots import SlotPlant

VALUES = "publish_secret"
"""The one script whose credential is a value, without an id and without an issuer that lists it."""

PLANTS: Mapping[str, type[AnyPlant]] = {
    "rotate_seeq_application_key": Plant,
    "rotate_seeq_user_key": SeeqUserPlant,
    "rotate_azure_app_secret": AzureAppPlant,
    "rotate_azure_resource_key": SlotPlant,
    "rotate_rabbitmq_password": RabbitPlant,
    "rotate_keycloak_client_secret": KeycloakPlant,
    "rotate_aws_access_key": IamPlant,
    VALUES: PublishPlant,
}
"""By script, all that there are."""

KEY_PLANTS: Mapping[str, type[AnyPlant]] = {stem: plant for stem, plant in PLANTS.items() if stem != VALUES}
"""Those of them whose credential is a key with an id."""
