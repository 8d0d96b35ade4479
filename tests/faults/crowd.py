"""Several rotations in one process that meet faults: how they are run, and what must hold for each of them.

As with a single run the verdict is taken from the services: each record is judged by what it says of itself, and
a fault in one leaves the others true.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import Site, Target
from sandbox.gateway import RotationResult
from sandbox.log import Request
from sandbox.plant import VAULT
from tests.cli.conftest import attach
from tests.conftest import ROOT
from tests.faults.trial import KILLED, Violation
from tests.support.invariants import LEASE
from tests.support.warm import Run, Warm

# Short enough that a request which hangs costs little: a single call may take an eighth of it.
_DEADLINE = 20

# Of more records than that a few are looked at before each request.
_FEW = 8

# What runs share: whoever asks for it, its answer is for all.
_SHARED = re.compile(r"POST \S+/(auth/login|oauth2/v2\.0/token)$")


@dataclass(frozen=True)
class Held:
    """What there is of one target. live: its live keys with their values; copies: what each store holds."""

    live: dict[str, str]
    copies: dict[str, tuple[str, str]]

    @property
    def dead(self) -> list[str]:
        """The places of which a part belongs to no live key; in the vault the two may be of two keys for a moment."""
        ids, values = set(self.live), set(self.live.values())
        whole = {place: self.live.get(key_id) == value for place, (key_id, value) in self.copies.items()}
        halves = {place: key_id in ids and value in values for place, (key_id, value) in self.copies.items()}
        return [place for place in self.copies if not (halves if place == "Key Vault" else whole)[place]]

    @property
    def mixed(self) -> bool:
        """Whether any store holds parts of two keys."""
        return any(self.live.get(key_id) != value for key_id, value in self.copies.values())


class Crowd:
    """A site with several applications, and the command that rotates them in one process."""

    def __init__(self, directory: Path, warm: Warm, applications: int) -> None:
        self.site = Site(directory, applications=applications)
        self.runs: list[Run] = []
        self.violations: list[Violation] = []
        self._warm = warm
        self._random = random.Random(applications)  # noqa: S311 - which records are looked at
        for target in self.site.targets:
            attach(self.site, target.user_uid, self.site.attached)
            self.site.set_field("deadline_seconds", str(_DEADLINE), target.user_uid)
        self.site.wire.gate = self._look

    def start(self, *arguments: str) -> RotationResult:
        """Run the command, and return what came of it."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/",
            "LANG": "C.UTF-8",
            **self.site.environment(),
        }
        given = ("rotate", "--all", "--yes", "--json", *arguments)
        self.runs.append(
            self._warm.start(ROOT / "pam_scripts", b"", environment=environment, arguments=given, directory=ROOT)
        )
        return self.runs[-1].wait()

    async def the_run(self) -> Run:
        """Return the run that is under way, from within a fault; its first request may come before `start` has it."""
        begun = len(self.runs)
        while not self.runs or self.runs[-1].ended:
            await asyncio.sleep(0.001)
            if len(self.runs) > begun:
                break
        return self.runs[-1]

    def held(self, target: Target) -> Held:
        """Return what there is of a target now."""
        site = self.site
        labels = ("access_key_id", "access_key_password")
        return Held(
            {key.key_id: key.password for key in site.seeq.live_keys(target.application_id)},
            {
                "Keeper": _pair(*(site.keeper.value(target.user_uid, label) for label in labels)),
                "Key Vault": _pair(
                    *(site.key_vault.value(VAULT, name) for name in (target.id_name, target.password_name))
                ),
            },
        )

    def end_leases(self) -> None:
        """Have all leases run out, as time would."""
        for target in self.site.targets:
            lease = self.site.keeper.value(target.user_uid, LEASE) or ""
            ended = re.sub(r"until \S+", "until 2026-01-01T00:00:00Z", lease)
            self.site.set_field(LEASE, ended, target.user_uid)

    def is_shared(self, request: Request) -> bool:
        """Say whether a request's answer is for all runs: the first reading of Keeper, the admin's login, the token."""
        first = next(one for one in self.site.wire.log if one.path.endswith("/get_secret"))
        by_admin = b'"rotation.admin"' in request.body or "oauth2" in request.path
        return request is first or (bool(_SHARED.match(str(request))) and by_admin)

    async def _look(self, request: Request) -> None:
        targets = self.site.targets
        for target in targets if len(targets) <= _FEW else self._random.sample(targets, _FEW):
            for place in self.held(target).dead:
                self.violations.append(Violation("Alive", f"{target.user_uid}: {place} before {request}"))


def _pair(key_id: str | None, value: str | None) -> tuple[str, str]:
    return key_id or "", value or ""


@dataclass
class Judge:
    """What must hold after a run of the command. before: what there was of each target."""

    crowd: Crowd
    before: dict[Target, Held] = field(init=False)

    def __post_init__(self) -> None:
        self.before = {target: self.crowd.held(target) for target in self.crowd.site.targets}

    def verdict(self, result: RotationResult) -> list[Violation]:
        """Return what does not hold."""
        site = self.crowd.site
        shown = result.stdout + result.stderr
        found = [Violation("Silent", "a secret value was shown") for value in site.secrets() if value in shown]
        found += [Violation("Ends", "a traceback")] if "Traceback" in shown else []
        found += [Violation("Ends", f"a defect: {shown[-300:]}")] if re.search(r"unexpected \w+ in ", shown) else []
        told = _told(result)
        if result.returncode == KILLED:
            return found
        if told is None:
            found += [] if result.returncode in (1, 2, 4) else [Violation("Ends", f"exit {result.returncode}: {shown}")]
            return [
                *found,
                *(each for target in site.targets for each in self._as_before(target, "the command failed")),
            ]
        statuses = [one["exit_status"] for one in told]
        worst = max(1 if status is None else status for status in statuses)
        if result.returncode != worst:
            found.append(Violation("True", f"exit {result.returncode}, and the records' are {statuses}"))
        by_uid = {one["record"]: one for one in told}
        for target in site.targets:
            found += self._of(target, by_uid[target.user_uid])
        return found + self._others_true(statuses)

    def _of(self, target: Target, one: dict[str, Any]) -> list[Violation]:
        status, error = one["exit_status"], one["error"]
        if status in (1, 2, None):
            return self._as_before(target, f"exit {status} ({error})")
        held = self.crowd.held(target)
        if status == 0:
            try:
                new = self.crowd.site.key_held(target)
            except RuntimeError as reason:
                return [Violation("True", f"{target.user_uid}: exit 0, but {reason}")]
            same = new in self.before[target].live
            return [Violation("True", f"{target.user_uid}: exit 0, and the key is the old one")] if same else []
        in_stores = {key_id for key_id, _ in held.copies.values()} | set(self.before[target].live)
        return [
            Violation("Nothing lost", f"{target.user_uid}: key {key.key_id} is alive and not named: {error}")
            for key in self.crowd.site.seeq.live_keys(target.application_id)
            if key.key_id not in in_stores and key.key_id not in error and key.label not in error
        ]

    def _as_before(self, target: Target, why: str) -> list[Violation]:
        after, before = self.crowd.held(target), self.before[target]
        return [] if after == before else [Violation("All or nothing", f"{target.user_uid}: {why}, but it differs")]

    def _others_true(self, statuses: Sequence[int | None]) -> list[Violation]:
        """Hold a single fault to the one run that it struck, unless what it struck was everybody's."""
        struck = [request for request in self.crowd.site.wire.log if request.fault]
        if len(struck) != 1 or self.crowd.is_shared(struck[0]):
            return []
        failed = sum(status != 0 for status in statuses)
        return [Violation("True", f"one fault at {struck[0]}, and {failed} failed: {statuses}")] if failed > 1 else []


def _told(result: RotationResult) -> list[dict[str, Any]] | None:
    """Return what the command says of each record; None where it did not come so far."""
    try:
        told: list[dict[str, Any]] = json.loads(result.stdout)["records"]
    except ValueError:
        return None
    return told
