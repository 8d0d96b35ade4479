"""The contract of consumers, kept by each kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pam_scripts import rotate_seeq_application_key
from sandbox.log import Request
from sandbox.plant import AnyPlant, Plant
from sandbox.services.container_apps import APP_READ, LEAST, PERMISSIONS_READ, REVISION_READ
from tests.contracts.consumers import ConsumerContract, ReloadedContract


class TestContainerApp(ReloadedContract):
    """An Azure Container App that reads a secret of the vault."""

    script, kind = rotate_seeq_application_key.SCRIPT, Plant

    def prepare(self, plant: AnyPlant) -> None:
        """Have one that looks well at once: what still serves right after a restart is the old."""
        plant.add_app("reports", plant.password_name, restart_seconds=0.0)

    def be_well(self, plant: AnyPlant, well: bool) -> None:
        """Have its probes say so."""
        plant.apps[0].heals = well

    def reloads(self, plant: AnyPlant) -> int:
        """Count the restarts."""
        return plant.apps[0].restarts

    def allow_to_look_at_rights(self, plant: AnyPlant) -> None:
        """Grant that beside the least that a restart takes."""
        plant.container_apps.grant(plant.subscription_id, plant.azure_app.client_id, (*LEAST, PERMISSIONS_READ))

    def forbid(self, plant: AnyPlant) -> None:
        """Leave the rights to read."""
        rights = (APP_READ, REVISION_READ, PERMISSIONS_READ)
        plant.container_apps.grant(plant.subscription_id, plant.azure_app.client_id, rights)

    def is_reload(self, request: Request) -> bool:
        """Look for the restart of a revision."""
        return request.path.endswith("/restart")

    def remove(self, plant: AnyPlant) -> None:
        """Name another app."""
        plant.set_field("container_apps", "plant-apps/report")


class TestHealthPage(ConsumerContract):
    """A page that says by its HTTP status whether somebody is well."""

    script, kind = rotate_seeq_application_key.SCRIPT, Plant
    page: ClassVar[Mapping[str, object]] = {"page": "text"}

    def prepare(self, plant: AnyPlant) -> None:
        """Have an app's page asked, and the app itself left alone."""
        plant.set_field("health_urls", plant.add_app("reports", plant.password_name, **self.page).health_url)
        plant.set_field("container_apps", "")

    def be_well(self, plant: AnyPlant, well: bool) -> None:
        """Have the app be well."""
        plant.apps[0].heals = well

    def test_nothing_is_reloaded_by_it(self) -> None:
        """It is only asked, and says so."""
        with self.on_site() as site:
            consumer = site.consumer()
            consumer.reload()

            assert not consumer.reloads
            assert [] == site.plant.wire.log


class TestHealthPageWithAStatus(TestHealthPage):
    """A page that always answers 200, and says in JSON whether somebody is well."""

    page: ClassVar[Mapping[str, object]] = {"page": "json", "unhealthy_status": 200}
