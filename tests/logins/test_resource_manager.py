"""Resource Manager: where its answers lead, a token goes only where it is its own host."""

from __future__ import annotations

import pytest

from pam_scripts.core.errors import ApiError
from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.logins.azure import CLOUDS, AppSecret, Identity
from pam_scripts.logins.resource_manager import ResourceManager
from sandbox.plant import Plant


@pytest.fixture
def manager(plant: Plant, wired: Session) -> ResourceManager:
    """Return the client of the plant's application."""
    app = AppSecret(plant.tenant_id, plant.azure_app.client_id, Secret(plant.azure_secret))
    return ResourceManager(Identity(app, CLOUDS["public"]), wired, "azure")


@pytest.mark.parametrize(
    "link",
    [
        ".evil.example.com/x",
        "@evil.example.com/x",
        "https://evil.example.com/x",
        "https://management.azure.com.evil.example.com/x",
        "https://management.azure.com@evil.example.com/x",
        "https://[::1/x",
    ],
)
def test_a_link_to_another_host_is_not_followed(link: str, manager: ResourceManager, plant: Plant) -> None:
    """Whatever an answer says of its next page: nobody is asked, and no token is made for it."""
    with pytest.raises(ApiError, match="the answer leads to another host, which gets no token"):
        manager.call("GET", link, "read the next page", api="2024-01-01", explain=lambda _answer: ("", ""))
    assert [] == plant.wire.log


@pytest.mark.parametrize("root", ["https://management.azure.com", "https://Management.Azure.com:443"])
def test_a_link_to_its_own_host_is_followed_however_that_is_written(root: str, manager: ResourceManager) -> None:
    """With its port and in capitals, as some of Azure's answers have it."""
    assert "/subscriptions/x?$skiptoken=1" == manager.own_path(f"{root}/subscriptions/x?$skiptoken=1")
