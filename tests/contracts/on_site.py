"""Where the contracts are tried: a plant that listens, this process led to it, and what its record asks for."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import ClassVar

import pytest

from pam_scripts.assembly.script import RotationSpec, Script
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.gateway.payload import read_job
from pam_scripts.rotation.roles import Consumer, Credential, Issuer, Mirror, Publication, Run
from pam_scripts.rotation.shape import Shape
from sandbox import faults
from sandbox.faults import Fault, Rule
from sandbox.log import Request
from sandbox.plant import AnyPlant, on_loopback

# What may come back in the place of an answer.
ANSWERS: dict[str, Fault] = {
    "403": faults.status(403),
    "500": faults.status(500),
    "500 after effect": faults.status(500, effect=True),
    "half a body": faults.broken_body(),
    "a web page": faults.html_body(),
    "nothing": faults.no_effect_no_answer(),
    "nothing after effect": faults.effect_no_answer(),
}


@dataclass
class Site:
    """A plant, and what its record asks for, made anew by each call as a further run would make it.

    said: what the parts have told so far.
    """

    plant: AnyPlant
    script: Script
    said: list[str] = field(default_factory=list)

    def asked(self) -> RotationSpec:
        """Read the record as the Gateway hands it over."""
        asked = self.script.read(read_job(self.plant.payload()))
        assert [] == asked.problems
        return asked

    @property
    def shape(self) -> Shape:
        """How the credential is laid out."""
        issuer = self.asked().issuer
        assert issuer
        return issuer.shape

    def mirror(self) -> Mirror:
        """Make the one mirror."""
        (spec,) = self.asked().mirrors
        return spec.build(self._session())

    def consumer(self) -> Consumer:
        """Make the one consumer."""
        (spec,) = self.asked().consumers
        return spec.build(self._session())

    def issuer(self) -> Issuer:
        """Make the issuer."""
        spec = self.asked().issuer
        assert spec
        started = utc_now()
        rotation_id = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        run = Run(rotation_id, started, Deadline(60), self.said.append, self.said.append)
        return spec.build(run, self._session())

    def publication(self, name: str) -> Publication:
        """Return a credential on its way into the stores; the name tells it from others."""
        started = utc_now()
        key_id = f"id-of-{name}" if self.shape.id_label else f"rotation-{name}"
        credential = Credential(key_id, Secret(f"value-of-{name}-{started.microsecond}"))
        return Publication(credential, f"rotation-{name}", started, started + timedelta(days=90))

    @property
    def old(self) -> Credential:
        """The credential that is there before anything is done."""
        return Credential(self.plant.old_key_id, Secret(self.plant.old_password))

    def values(self, *publications: Publication) -> set[str]:
        """Return every value that must not be seen."""
        return {*self.plant.secrets(), *(each.credential.secret.reveal() for each in publications)}

    def provoke(
        self, calls: Iterable[Callable[[], object]], where: Callable[[Request], bool] | None = None
    ) -> list[object]:
        """Meet each call with each of ANSWERS, and return all that came back: errors with all that they carry.

        where: which requests are answered so.
        """
        seen: list[object] = []
        for answer, call in itertools.product(ANSWERS.values(), calls):
            self.plant.wire.rules[:] = [Rule(answer, where=where)]
            try:
                seen.append(call())
            except PamScriptError as error:
                seen += [error, error.args, error.__cause__]
        errors = [one for one in seen if isinstance(one, PamScriptError)]
        assert len(errors) > len(ANSWERS) * 3, "the faults were met"
        return seen

    def _session(self) -> Session:
        return Session(Deadline(30))


class OnSite:
    """What the contracts have in common. script, kind: the script whose record asks for the part, and its plant."""

    script: ClassVar[Script]
    kind: ClassVar[type[AnyPlant]]

    def prepare(self, plant: AnyPlant) -> None:
        """Have the plant's record ask for the part that is tried, and for no other of its role."""

    def options(self) -> dict[str, object]:
        """Return the plant's options."""
        return {}

    @contextmanager
    def on_site(self, **options: object) -> Iterator[Site]:
        """Have a plant listen, and lead this process to it."""
        with on_loopback(self.kind, **{**self.options(), **options}) as plant, pytest.MonkeyPatch.context() as patched:
            self.prepare(plant)
            for name, value in plant.environment().items():
                patched.setenv(name, value)
            yield Site(plant, self.script)

    @pytest.fixture
    def site(self) -> Iterator[Site]:
        """Return the site with the old key in every place."""
        with self.on_site() as site:
            yield site


def with_value(credential: Credential, value: str) -> Credential:
    """Return the credential with another value."""
    return replace(credential, secret=Secret(value))


def assert_unseen(values: set[str], *texts: object) -> None:
    """Check that none of the values stands in what these things show of themselves."""
    shown = [f"{text!r} {text}" for text in texts]
    assert [] == [number for number, text in enumerate(shown) if any(value in text for value in values if value)]
