"""How a sandbox is put combine: what a service says of itself is taken from it, wherever it is needed."""

from __future__ import annotations

import pkgutil
from pathlib import Path

from starlette.applications import Starlette

from sandbox import services
from sandbox.plant import Plant


class _Further:
    """A service more."""

    hosts = ("further.example.com", "*.further.example.com")
    app = Starlette()

    def secrets(self) -> set[str]:
        return {"the further service's own"}


class _FurtherPlant(Plant):
    """A plant that has it, by the one line that this takes."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.further = self._with(_Further())


def test_every_module_of_the_services_is_in_every_sandbox(tmp_path: Path) -> None:
    """Each holds one service, and none is forgotten where they are put together."""
    modules = sorted(f"{services.__name__}.{module.name}" for module in pkgutil.iter_modules(services.__path__))

    assert len(modules) > 5
    assert modules == sorted(type(service).__module__ for service in Plant(tmp_path).services)


def test_every_service_answers_at_each_of_its_hosts(tmp_path: Path) -> None:
    """Where it says that it stands in for any name, any name leads to it."""
    plant = Plant(tmp_path)
    led = {host: plant.wire.app_for(host.replace("*", "any")) for service in plant.services for host in service.hosts}

    assert {"keepersecurity.com", "*.vault.azure.net"} < set(led)
    assert led == {host: service.app for service in plant.services for host in service.hosts}


def test_a_further_service_is_served_and_its_secrets_are_looked_for(tmp_path: Path) -> None:
    """One line puts it on the wire and among those that are asked for secrets."""
    plant = _FurtherPlant(tmp_path)

    assert plant.further.app is plant.wire.app_for("further.example.com")
    assert plant.further.app is plant.wire.app_for("any.further.example.com")
    assert "the further service's own" in plant.secrets()
    assert {plant.old_password, plant.azure_secret, plant.admin_password} < plant.secrets()
