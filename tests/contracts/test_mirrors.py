"""The contract of mirrors, kept by each kind."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from pam_scripts import publish_secret, rotate_seeq_application_key
from pam_scripts.core.errors import ApiError
from sandbox.faults import Rule, effect_no_answer
from sandbox.log import Request
from sandbox.plant import VAULT, AnyPlant, Plant
from sandbox.publishing import SECRET as PUBLISHED
from sandbox.publishing import PublishPlant, previous
from sandbox.services.openbao import ENGINE, ROLE
from tests.contracts.mirrors import MirrorContract
from tests.contracts.on_site import Site
from tests.support.invariants import writes

SECRET = "plant/reports"


class _InKeyVault(MirrorContract):
    """What the kinds in Key Vault have in common: one vault, and secrets whose names the plant knows."""

    def names(self, plant: AnyPlant) -> list[str]:
        """Return the names of the mirror's secrets."""
        return [plant.id_name, plant.password_name]

    def held(self, plant: AnyPlant) -> Mapping[str, str]:
        """Return the latest version of each secret, unless it is disabled."""
        values = {name: plant.key_vault.value(VAULT, name) for name in self.names(plant)}
        return {name: value for name, value in values.items() if value is not None}

    def versions(self, plant: AnyPlant) -> int:
        """Count the versions of each secret."""
        return sum(len(plant.key_vault.versions(VAULT, name)) for name in self.names(plant))

    def write(self, plant: AnyPlant, place: str, value: str) -> None:
        """Set a secret."""
        plant.key_vault.set(VAULT, place, value)

    def forbid(self, plant: AnyPlant) -> None:
        """Leave the right to read."""
        plant.key_vault.grant(VAULT, plant.azure_app.client_id, {"get", "list"})

    def is_write(self, request: Request) -> bool:
        """Look for PUT: it sets a secret."""
        return request.method == "PUT"


class TestKeyVaultPair(_InKeyVault):
    """Two secrets: the key's id and its value."""

    script, kind = rotate_seeq_application_key.SCRIPT, Plant


class TestKeyVaultCombined(_InKeyVault):
    """A third secret that holds both as JSON."""

    script, kind = rotate_seeq_application_key.SCRIPT, Plant

    def prepare(self, plant: AnyPlant) -> None:
        """Ask for it, and have it there where the pair is."""
        plant.set_field("key_vault_combined", "True")
        if not plant.first_time:
            plant.key_vault.set(VAULT, plant.combined_name, _both(plant))

    def names(self, plant: AnyPlant) -> list[str]:
        """Return the three names."""
        return [plant.combined_name, *super().names(plant)]


class TestKeyVaultValue(_InKeyVault):
    """One secret: a value within the text around it."""

    script, kind = publish_secret.SCRIPT, PublishPlant

    def options(self) -> dict[str, object]:
        """Have the value made here, and stand in a text that quotes nothing."""
        return {"value_format": "alnum:32", "template": "the password of {login} is {password}"}

    def prepare(self, plant: AnyPlant) -> None:
        """Ask for one vault alone."""
        plant.set_field("key_vault_name", VAULT)

    def names(self, plant: AnyPlant) -> list[str]:
        """Return the one name."""
        return [plant.id_name]


class _InAws(MirrorContract):
    """What the kinds in AWS have in common."""

    def write(self, plant: AnyPlant, place: str, value: str) -> None:
        """Put a version."""
        plant.aws.put(place, value)

    def forbid(self, plant: AnyPlant) -> None:
        """Deny putting."""
        plant.aws.deny(plant.aws_key_id, "secretsmanager:PutSecretValue")

    def is_write(self, request: Request) -> bool:
        """Look for the action that a header names."""
        return request.headers.get("x-amz-target", "").endswith(".PutSecretValue")


class TestAwsSecretsManager(_InAws):
    """One secret that holds both as JSON."""

    script, kind = rotate_seeq_application_key.SCRIPT, Plant

    def prepare(self, plant: AnyPlant) -> None:
        """Ask for it alone."""
        plant.set_field("key_vault_name", "")
        plant.add_aws_mirror(SECRET, None if plant.first_time else _both(plant))

    def held(self, plant: AnyPlant) -> Mapping[str, str]:
        """Return the current version; what stands there in place of nothing is an empty object."""
        value = plant.aws.value(SECRET)
        return {SECRET: value} if value not in (None, "{}") else {}

    def versions(self, plant: AnyPlant) -> int:
        """Count them, deprecated ones too."""
        return len(plant.aws.versions(SECRET))


class _InOpenBao(MirrorContract):
    """What the kinds in OpenBao have in common."""

    def write(self, plant: AnyPlant, place: str, value: str) -> None:
        """Put a version with a word of one's own."""
        plant.openbao.put(place.removeprefix(f"{ENGINE}/"), {"by hand": value})

    def is_write(self, request: Request) -> bool:
        """Look for what sets a version."""
        return request.method == "POST" and request.path.startswith(f"/v1/{ENGINE}/data/")


class TestOpenBao(_InOpenBao):
    """One secret whose words are both, in a server that keeps all in memory."""

    script, kind = rotate_seeq_application_key.SCRIPT, Plant
    secret = SECRET

    def prepare(self, plant: AnyPlant) -> None:
        """Ask for it alone."""
        plant.set_field("key_vault_name", "")
        plant.add_openbao_mirror(self.secret, held=None if plant.first_time else json.loads(_both(plant)))

    def held(self, plant: AnyPlant) -> Mapping[str, str]:
        """Return what readers get: both words as JSON, or the one that somebody else has set."""
        (name,) = plant.openbao_secrets
        data = plant.openbao.value(name) or {}
        both = {label: data[label] for label in list(plant.outputs)[:2] if label in data}
        text = json.dumps(both) if both else data.get("by hand")
        return {f"{ENGINE}/{name}": text} if text else {}

    def versions(self, plant: AnyPlant) -> int:
        """Take the newest one's number: each write has the next."""
        return int(plant.openbao.metadata(plant.openbao_secrets[0]).get("current_version", 0))

    def forbid(self, plant: AnyPlant) -> None:
        """Leave the right to read."""
        (name,) = plant.openbao_secrets
        plant.openbao.allow(ROLE, {f"{ENGINE}/{kind}/{name}": ["read"] for kind in ("data", "metadata")})


# -- with the value before under a second name ----------------------------------------------------


class _Published(MirrorContract):
    """A value made here, whose second name holds the one from before it."""

    def options(self) -> dict[str, object]:
        """Have the value stand as it is."""
        return {"value_format": "alnum:32", "template": ""}

    def keep(self, plant: AnyPlant) -> None:
        """Ask for the second name, where something stands unless this is the first time."""
        assert isinstance(plant, PublishPlant)
        plant.template = "{password}"
        plant.keep_previous(None if plant.first_time else "the-value-of-two-years-ago")

    @pytest.mark.parametrize("second", [True, False], ids=["at the second name", "at the first"])
    def test_a_run_that_ends_at_either_name_is_made_good_by_the_next(self, site: Site, second: bool) -> None:
        """What stands under the first name then is the value before of the next one."""
        mirror, lost, new = site.mirror(), site.publication("lost"), site.publication("new")
        mirror.examine()

        def is_at_second(request: Request) -> bool:
            return bool(writes([request])) and previous("") in f"{request.path} {request.body!r}"

        where = is_at_second if second else self.is_write
        site.plant.wire.rules.append(Rule(effect_no_answer(), where=where, nth=1))
        with pytest.raises(ApiError):
            mirror.write(lost)

        site.plant.wire.rules.clear()
        later = site.mirror()
        held = later.examine()
        later.write(new)
        assert self.held(site.plant) == later.parts(new.credential)
        assert {*held.restore_point[0].parts.values()} <= {*self.held(site.plant).values()}


class TestKeyVaultWithPrevious(_Published, _InKeyVault):
    """Two secrets, the value and the one before."""

    script, kind = publish_secret.SCRIPT, PublishPlant

    def prepare(self, plant: AnyPlant) -> None:
        """Ask for one vault alone."""
        plant.set_field("key_vault_name", VAULT)
        if not plant.first_time:
            plant.key_vault.set(VAULT, PUBLISHED, plant.old_password, tags={"keeper-record": plant.user_uid})
        self.keep(plant)

    def names(self, plant: AnyPlant) -> list[str]:
        """Return both names."""
        return [plant.id_name, previous(plant.id_name)]

    def is_write(self, request: Request) -> bool:
        """Look for what sets the first."""
        return request.method == "PUT" and request.path.endswith(f"/{PUBLISHED}")


class TestAwsSecretsManagerWithPrevious(_Published, _InAws):
    """Two secrets, the value and the one before."""

    script, kind = publish_secret.SCRIPT, PublishPlant

    def prepare(self, plant: AnyPlant) -> None:
        """Ask for it alone."""
        plant.set_field("key_vault_name", "")
        plant.add_aws_mirror(SECRET, None if plant.first_time else plant.old_password)
        self.keep(plant)

    def held(self, plant: AnyPlant) -> Mapping[str, str]:
        """Return the current versions."""
        values = {name: plant.aws.value(name) for name in (SECRET, previous(SECRET))}
        return {name: value for name, value in values.items() if value not in (None, "{}")}

    def versions(self, plant: AnyPlant) -> int:
        """Count those of both."""
        return sum(len(plant.aws.versions(name)) for name in (SECRET, previous(SECRET)))

    def is_write(self, request: Request) -> bool:
        """Look for the action, for the first."""
        return super().is_write(request) and json.loads(request.body)["SecretId"] == SECRET


class TestOpenBaoWithPrevious(_Published, _InOpenBao):
    """Two secrets, the value and the one before."""

    script, kind = publish_secret.SCRIPT, PublishPlant

    def prepare(self, plant: AnyPlant) -> None:
        """Ask for it alone."""
        plant.set_field("key_vault_name", "")
        plant.add_openbao_mirror(SECRET, held=None if plant.first_time else {"value": plant.old_password})
        self.keep(plant)

    def held(self, plant: AnyPlant) -> Mapping[str, str]:
        """Return the words, or those that somebody else has set."""
        found = {name: plant.openbao.value(name) or {} for name in (SECRET, previous(SECRET))}
        texts = {name: data.get("value") or data.get("by hand") for name, data in found.items()}
        return {f"{ENGINE}/{name}": text for name, text in texts.items() if text}

    def versions(self, plant: AnyPlant) -> int:
        """Take the newest one's number of each."""
        abouts = [plant.openbao.metadata(name) for name in (SECRET, previous(SECRET))]
        return sum(int(about.get("current_version", 0)) for about in abouts)

    def forbid(self, plant: AnyPlant) -> None:
        """Leave the right to read both."""
        paths = [f"{ENGINE}/{kind}/{name}" for kind in ("data", "metadata") for name in (SECRET, previous(SECRET))]
        plant.openbao.allow(ROLE, {path: ["read"] for path in paths})

    def is_write(self, request: Request) -> bool:
        """Look for what sets a version of the first."""
        return super().is_write(request) and request.path.endswith(f"/{SECRET}")


def _both(plant: AnyPlant) -> str:
    id_label, value_label = list(plant.outputs)[:2]
    return json.dumps({id_label: plant.old_key_id, value_label: plant.old_password})
