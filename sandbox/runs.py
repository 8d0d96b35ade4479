"""Runs of a script for the demo: to their end, or until they are killed half-way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from sandbox import faults
from sandbox.gateway import RotationResult, Running
from sandbox.log import Request
from sandbox.plant import AnyPlant
from sandbox.publishing import PublishPlant
from sandbox.seen import mirror_of
from sandbox.services.openbao import ENGINE


def run(
    script: Path, python: Path, names: Mapping[str, str], plant: AnyPlant, killed: Killed | None = None
) -> tuple[RotationResult, list[RenderableType]]:
    """Run a script as the Gateway does, to its end or until it is killed; return that, and what there is to show.

    names: what stands for long ids in what is shown.
    """
    requests_before, connections_before = len(plant.wire.log), plant.wire.tls_handshakes
    running = plant.gateway.start(
        script, plant.payload(), environment=plant.environment(), python=str(python), line_end=b"\r\n"
    )
    if killed:
        killed.running = running
    result = running.wait()
    shown = [Text(f"$ echo BASE64 | {python.name} {script.name}", "dim")]
    shown += [named(text, names) for text in result.stdout.splitlines()]
    shown += [named(text, names, "red") for text in result.stderr.splitlines()]
    made, connected = len(plant.wire.log) - requests_before, plant.wire.tls_handshakes - connections_before
    if not killed:
        told = (
            f"exit status {result.returncode} ({'success' if result.success else 'failed'}), {result.seconds:.1f} s, "
        )
        told += f"{made} requests over {connected} TLS connections"
        shown.append(Text(told, "green" if result.success else "red"))
    return result, [*shown]


def _writes_to_a_mirror(request: Request) -> bool:
    """Say whether a request puts a value into Key Vault, AWS or OpenBao."""
    in_aws = request.headers.get("x-amz-target", "").endswith(".PutSecretValue")
    in_openbao = request.method == "POST" and request.path.startswith(f"/v1/{ENGINE}/data/")
    return in_aws or in_openbao or (request.method == "PUT" and request.path.startswith("/secrets/"))


class Killed:
    """Has the run in hand end by SIGKILL when it has written to Keeper, and goes on to write to a vault.

    running: that run. one_lives: there is no old key to delete, since the new one has ended it.
    """

    def __init__(self, plant: AnyPlant, *, one_lives: bool = False) -> None:
        self.running: Running | None = None
        self._plant = plant
        self._one_lives = one_lives
        self._request: Request | None = None
        fault = faults.Fault(effect=False, answer="none", before=self._kill)
        plant.wire.rules.append(faults.Rule(fault, where=_writes_to_a_mirror))

    async def _kill(self, request: Request) -> None:
        self._request = self._request or request
        while self.running is None:  # noqa: ASYNC110 - the other thread has no loop to be awaited in
            await asyncio.sleep(0.001)
        self.running.kill()
        while self.running.process.poll() is None:  # noqa: ASYNC110 - a process ends without telling
            await asyncio.sleep(0.001)

    def shown(self, lines: Sequence[RenderableType]) -> list[RenderableType]:
        """Return what there is to show: the run's last lines, and where it stopped."""
        self._plant.wire.rules.clear()
        where = f"{self._request.method} {self._request.host}" if self._request else "no request"
        mirror = mirror_of(self._plant).removeprefix("Azure ")
        last = "" if self._one_lives else " > delete the old keys"
        way = f"look > make a key > log in with it > Keeper > [bold red]X[/] {mirror}{last}"
        if isinstance(self._plant, PublishPlant):
            way = "look > make a value > Keeper > [bold red]X[/] the vaults and AWS > restart the apps"
        return [
            Text("Its last words:"),
            *lines[-5:],
            Text(),
            Text(f"SIGKILL at {where}: it goes as in a power cut, and cleans nothing up.", "bold red"),
            Text(),
            Text.from_markup(way),
        ]

    def end_lease(self) -> Text:
        """Let the lease of the killed run end, as it does by itself; return what there is to show of it."""
        holder, _, until = (self._plant.keeper.value(self._plant.user_uid, "rotation_lease") or "").partition(" until ")
        past = self._plant.clock.now() - timedelta(seconds=1)
        self._plant.set_field("rotation_lease", f"{holder} until {past:%Y-%m-%dT%H:%M:%SZ}")
        told = (
            f"(The killed rotation's lease keeps others out until {until}. This demo does not wait: it sets that back.)"
        )
        return Text(told, "dim")


def named(text: str, names: Mapping[str, str], style: str = "") -> Text:
    """Return a line with names in place of long ids."""
    for value, name in names.items():
        text = text.replace(value, name)
    return Text(text, style)
