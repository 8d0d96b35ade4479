"""The demo: run a script as the Keeper Gateway does, against the sandbox, and show what it did; then kill one half-way.

`python -m sandbox [SCRIPT]`, or `make demo`, which also builds the bundle it runs. With `--fault` one request is
spoiled; with `--serve` the sandbox stays up, for a shell in another terminal.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shlex
import signal
import string
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import requests
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient
from rich import box
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

from sandbox import faults
from sandbox.gateway import RotationResult, Running
from sandbox.log import Request
from sandbox.plant import SEEQ_HOST, AnyPlant, AzureAppPlant, Issued, Plant, SeeqUserPlant, on_loopback
from sandbox.publishing import SECRET, PublishPlant
from sandbox.screens import WIDTH, Screens

Wait = Callable[[], object]

ROOT = Path(__file__).parents[1]
PUBLISH = "publish_secret"
NOT_SHOWN = "This is not what was to be shown."
RUNTIME_PYTHON = ROOT / ".venv-runtime" / "bin" / "python"
FAULTS: Mapping[str, faults.Fault] = {
    "no effect, no answer": faults.no_effect_no_answer(),
    "effect, no answer": faults.effect_no_answer(),
    "500": faults.status(500),
    "503": faults.status(503, retry_after="1"),
    "403": faults.status(403),
    "404": faults.status(404),
    "web page": faults.html_body(),
    "hang": faults.hang(),
}
"""What may happen to a request, by the words that `--as` takes."""


@dataclass(frozen=True)
class Demo:
    """What one script's demo differs in.

    plant: makes the plant; prepare: puts something in its way. issued: the title over the issuer's
    keys. target: which attribute of the plant has the id of their owner. ask: log in with a key, as a consumer
    would, and return the HTTP status.
    """

    plant: Callable[[], AbstractContextManager[AnyPlant]]
    prepare: Callable[[AnyPlant], object]
    issued: str
    target: str
    ask: Callable[[AnyPlant, str, str], int]

    def names(self, plant: AnyPlant) -> Mapping[str, str]:
        """Return what stands for long ids in what is shown."""
        return {getattr(plant, self.target): self.target.upper(), **_names(plant)}


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    whole = argparse.ArgumentParser(prog="python -m sandbox", description="Run a script against the sandbox.")
    whole.add_argument("script", nargs="?", default="rotate_seeq_application_key", choices=[*DEMOS, PUBLISH])
    whole.add_argument("--fault", metavar="PATH", help="spoil the first request to this path, * for any characters")
    whole.add_argument("--as", dest="kind", choices=FAULTS, default="effect, no answer", help="what happens to it")
    whole.add_argument("--serve", action="store_true", help="rotate nothing; keep the sandbox up until Ctrl-C")
    return whole


def main() -> int:
    """Show one script's work; return 0 if it rotated and the new credential proved itself."""
    options = parser().parse_args()
    if options.script == PUBLISH and (options.fault or options.serve):
        parser().error(f"{PUBLISH} has neither --fault nor --serve")
    if options.serve:
        return serve(DEMOS[options.script])
    script = ROOT / "dist" / f"{options.script}.py"
    if not script.exists():
        parser().error(f"{script} is missing: `make bundle` builds it")
    console = Console(highlight=False, width=WIDTH)
    wait = until_read if sys.stdin.isatty() and sys.stdout.isatty() else ignore
    try:
        if script.stem == PUBLISH:
            return show_publishing(script, console, wait)
        rule = faults.Rule(FAULTS[options.kind], path=options.fault, nth=1) if options.fault else None
        return show(DEMOS[script.stem], script, console, rule, wait)
    except KeyboardInterrupt:
        return 130


def until_read() -> None:
    """Wait for Enter, and take the line that asks for it away again."""
    with contextlib.suppress(EOFError):
        input("Enter: go on   Ctrl-C: leave ")
        sys.stdout.write("\x1b[1A\x1b[2K")


def ignore() -> None:
    """Wait for nobody."""


def serve(demo: Demo) -> int:
    """Keep a plant up, with its script attached to its record, and say what leads a shell to it; return 0 on Ctrl-C."""
    with demo.plant() as plant:
        demo.prepare(plant)
        value = {"fileRef": "A" * 22, "command": "python3", "recordRef": list(plant.attached)}
        field = {"type": "script", "label": "rotationScripts", "value": [value]}
        plant.keeper.edit(plant.user_uid, lambda data: data["fields"].append(field))
        uids = {"RECORD_UID": plant.user_uid, "ADMIN_UID": "".join(plant.attached[:1])}
        for name, text in {**plant.environment(), **uids}.items():
            sys.stdout.write(f"export {name}={shlex.quote(text)}\n")
        sys.stdout.flush()
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0


def show(demo: Demo, script: Path, console: Console, rule: faults.Rule | None = None, wait: Wait = ignore) -> int:
    """Rotate a key that is mirrored in Key Vault; kill a second rotation half-way, and have a third one mend that.

    rule: one request that is spoiled instead, and how: then there is one rotation, and no more. wait: called after
    each screen.
    """
    screens = Screens(console, 3 if rule else 7, wait)
    with demo.plant() as plant:
        demo.prepare(plant)
        os.environ.update(plant.wire.environment())
        seen = _Seen(demo, plant)
        plant.wire.rules += [rule] if rule else []
        before = seen.look()
        screens.show("Before", *before.shown("More than one key is alive, and nobody knows any more which may go."))

        result, lines = _run(script, demo.names(plant), plant)
        lines += [
            _named(f"request {one.number} was spoiled: {one}", demo.names(plant), "yellow")
            for one in plant.wire.log
            if one.fault
        ]
        screens.show("The Gateway runs the script", *lines)
        plant.wire.rules.clear()
        after = seen.look()
        rotated = result.success and after.is_rotated_from(before)
        told = "Each place holds the new key, and it logs in. The old ones are refused."
        told = told if rotated else "This is what the fault has left." if rule else NOT_SHOWN
        screens.show("After", *after.shown(told))
        if rule:
            return 0 if rotated else 1

        if isinstance(plant, AzureAppPlant):
            # That Entra takes its time was to be seen once; the rest goes on quickly.
            plant.graph.propagation_seconds, plant.graph.flapping = 0, ()
        killed = _Killed(plant)
        result, lines = _run(script, demo.names(plant), plant, killed)
        screens.show("The next rotation is killed half-way", *killed.shown(lines))
        half = seen.look()
        apart = result.returncode == -signal.SIGKILL and half.is_split_from(after)
        told = (
            "Keeper holds a newer key than Key Vault, and both log in: the old one would have been deleted last. "
            "Whoever reads either place goes on working, however long this lasts."
        )
        screens.show("What the kill left", *half.shown(told if apart else NOT_SHOWN))

        lease = killed.end_lease()
        result, lines = _run(script, demo.names(plant), plant)
        screens.show("The rotation after it", lease, *lines)
        end = seen.look()
        mended = result.success and end.is_rotated_from(half)
        told = "One key is left. Each place holds it, it logs in, and what the killed rotation left over is gone."
        screens.show("The end", *end.shown(told if mended else NOT_SHOWN))
        return 0 if rotated and apart and mended else 1


def show_publishing(script: Path, console: Console, wait: Wait = ignore) -> int:
    """Publish a connection string to two vaults and AWS, for two apps: three times, of which two go wrong."""
    screens, verdicts = Screens(console, 10, wait), []
    for heals in (True, False):
        with _publish_plant() as plant:
            known = plant.written(plant.old_password)
            _add_apps(plant, heals=heals or (lambda held: held["credential"] == known))  # noqa: B023 - called before the next turn
            told = "Two apps read a connection string."
            told = told if heals else "The same once more; but with a new value one of the apps does not come back."
            screens.show("Before", Text(told), _places(plant))
            result, lines = _run(script, _names(plant), plant)
            screens.show("The Gateway runs the script", *lines)
            same = len({*plant.holdings().values()}) == 1
            well = all(app.healthy and app.restarts == (1 if heals else 2) for app in plant.apps)
            kept = plant.old_password in plant.holdings().values()
            verdicts.append(result.returncode == (0 if heals else 1) and same and well and kept is not heals)
            told = "Every place holds the new value, and both apps run on it."
            told = told if heals else "Every place holds the old value again, and both apps run on it."
            screens.show("After", _places(plant), _verdict(told, holds=verdicts[-1]))
    with _publish_plant() as plant:
        _add_apps(plant, heals=True)
        killed = _Killed(plant)
        result, lines = _run(script, _names(plant), plant, killed)
        screens.show("A rotation is killed half-way", *killed.shown(lines))
        well = all(app.healthy and not app.restarts for app in plant.apps)
        verdicts.append(result.returncode == -signal.SIGKILL and len({*plant.holdings().values()}) > 1 and well)
        told = "Keeper is ahead of the rest. No value is mixed, and both apps run: nothing has told them to change."
        screens.show("What the kill left", _places(plant), _verdict(told, holds=verdicts[-1]))
        lease = killed.end_lease()
        result, lines = _run(script, _names(plant), plant)
        screens.show("The rotation after it", lease, *lines)
        same = len({*plant.holdings().values()}) == 1 and plant.old_password not in plant.holdings().values()
        verdicts.append(result.success and same and all(app.healthy for app in plant.apps))
        told = "Every place holds one new value, and both apps run on it."
        screens.show("The end", _places(plant), _verdict(told, holds=verdicts[-1]))
    return 0 if all(verdicts) else 1


# -- a run, and the end of one --------------------------------------------------------------------


def _run(
    script: Path, names: Mapping[str, str], plant: AnyPlant, killed: _Killed | None = None
) -> tuple[RotationResult, list[RenderableType]]:
    """Run a script as the Gateway does, to its end or until it is killed; return that, and what there is to show.

    names: what stands for long ids in what is shown.
    """
    requests_before, connections_before = len(plant.wire.log), plant.wire.tls_handshakes
    running = plant.gateway.start(
        script, plant.payload(), environment=plant.environment(), python=str(RUNTIME_PYTHON), line_end=b"\r\n"
    )
    if killed:
        killed.running = running
    result = running.wait()
    shown = [Text(f"$ echo BASE64 | {RUNTIME_PYTHON.name} {script.name}", "dim")]
    shown += [_named(text, names) for text in result.stdout.splitlines()]
    shown += [_named(text, names, "red") for text in result.stderr.splitlines()]
    made, connected = len(plant.wire.log) - requests_before, plant.wire.tls_handshakes - connections_before
    if not killed:
        told = (
            f"exit status {result.returncode} ({'success' if result.success else 'failed'}), {result.seconds:.1f} s, "
        )
        told += f"{made} requests over {connected} TLS connections"
        shown.append(Text(told, "green" if result.success else "red"))
    return result, [*shown]


def _writes_to_a_mirror(request: Request) -> bool:
    """Say whether a request puts a value into Key Vault or AWS."""
    in_aws = request.headers.get("x-amz-target", "").endswith(".PutSecretValue")
    return in_aws or (request.method == "PUT" and request.path.startswith("/secrets/"))


class _Killed:
    """Has the run in hand end by SIGKILL when it has written to Keeper, and goes on to write to a vault.

    running: that run.
    """

    def __init__(self, plant: AnyPlant) -> None:
        self.running: Running | None = None
        self._plant = plant
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
        way = "look > make a key > log in with it > Keeper > [bold red]X[/] Key Vault > delete the old keys"
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


# -- what is shown --------------------------------------------------------------------------------


class _Seen:
    """The keys of a plant, each with a letter and a colour from when it is first seen, also once it is gone."""

    def __init__(self, demo: Demo, plant: AnyPlant) -> None:
        self._demo = demo
        self._plant = plant
        self._keys: dict[str, Issued] = {}

    def look(self) -> _State:
        """Try each key and each place's credential with a real login."""
        for key in sorted(self._plant.issued(), key=lambda one: one.created_at):
            self._keys.setdefault(key.key_id, key)
        label_of_id, label_of_value = list(self._plant.outputs)[:2]
        in_keeper = self._in_keeper(label_of_id), self._in_keeper(label_of_value)
        pairs = {"Keeper record": in_keeper, "Azure Key Vault": _read_key_vault(self._plant)}
        return _State(
            self._demo.issued,
            dict(self._keys),
            {key_id: self._logs_in(key_id, key.value) for key_id, key in self._keys.items()},
            {place: key_id for place, (key_id, _) in pairs.items()},
            {place: self._logs_in(*pair) for place, pair in pairs.items()},
        )

    def _in_keeper(self, label: str) -> str:
        return self._plant.keeper.value(self._plant.user_uid, label) or ""

    def _logs_in(self, key_id: str, value: str) -> bool:
        return self._demo.ask(self._plant, key_id, value) == HTTPStatus.OK


@dataclass(frozen=True)
class _State:
    """What there is at one moment. alive: whether a key logs in, by its id; held: the id of the key that a place holds.

    keys: all that were ever seen, in their order; well: whether what a place holds logs in, as a whole.
    """

    title: str
    keys: Mapping[str, Issued]
    alive: Mapping[str, bool]
    held: Mapping[str, str]
    well: Mapping[str, bool]

    def is_rotated_from(self, before: _State) -> bool:
        """Say whether all places hold one new key that logs in, and those that they held before do not."""
        new = {*self.held.values()}
        gone = not any(self.alive[key_id] for key_id in before.held.values())
        return all(self.well.values()) and len(new) == 1 and not new & {*before.keys} and gone

    def is_split_from(self, before: _State) -> bool:
        """Say whether the places hold an old key and a new one, and both log in."""
        return all(self.well.values()) and len({*self.held.values()} - {*before.keys}) == 1 == len(
            {*self.held.values()} & {*before.keys}
        )

    def shown(self, told: str) -> list[RenderableType]:
        """Return two tables, and what to see in them."""
        keys = _table(self.title, "", _column("key"), "made", "logs in")
        for key_id, key in self.keys.items():
            label = "by the script" if key.label.startswith("keeper:") else key.label
            made = f"{key.created_at:%Y-%m-%d} {label}"
            style = self._style(key_id) if self.alive[key_id] else "dim"
            keys.add_row(self._letter(key_id), key_id, made, _yes(self.alive[key_id]), style=style)
        places = _table("Where it is stored", "", "place", _column("holds the key"), "logs in")
        for place, key_id in self.held.items():
            row = (self._letter(key_id), place, key_id, _yes(self.well[place]))
            places.add_row(*row, style=self._style(key_id))
        return [keys, places, Text(told, "bold")]

    def _letter(self, key_id: str) -> str:
        return string.ascii_uppercase[list(self.keys).index(key_id)] if key_id in self.keys else "?"

    def _style(self, key_id: str) -> str:
        return _COLOURS[list(self.keys).index(key_id) % len(_COLOURS)] if key_id in self.keys else "red"


_COLOURS = ("yellow", "bright_black", "cyan", "magenta", "green", "blue")


def _table(title: str, *columns: str | Column) -> Table:
    return Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def _column(head: str) -> Column:
    """Return a column of ids, which are never cut: they might look the same."""
    return Column(head, no_wrap=True, overflow="fold")


def _yes(truth: bool) -> str:
    return "yes" if truth else "refused"


def _named(text: str, names: Mapping[str, str], style: str = "") -> Text:
    for value, name in names.items():
        text = text.replace(value, name)
    return Text(text, style)


def _places(plant: PublishPlant) -> Table:
    table = _table("Where it is stored, and who runs on it", "place", "holds", "state")
    made: list[str] = []

    def shown(value: str) -> str:
        if value == plant.old_password:
            return "the value of before"
        made.extend([] if value in made else [value])
        return "a new value" if made[0] == value else "another new value"

    for place, value in plant.holdings().items():
        table.add_row(place, shown(value), "")
    for app in plant.apps:
        running, health = app.state(app.latest)
        held = shown(plant.value_in(app.holds.get("credential")))
        restarts = f"{app.restarts} restart{'' if app.restarts == 1 else 's'}"
        table.add_row(f"app {app.name}", held, f"{running}, {health}; {restarts}")
    return table


def _verdict(told: str, *, holds: bool) -> Text:
    return Text(told, "bold green") if holds else Text(NOT_SHOWN, "bold red")


# -- the consumer ---------------------------------------------------------------------------------


def _read_key_vault(plant: AnyPlant) -> tuple[str, str]:
    """Read the pair as a consumer would: with the official SDK, from wherever the environment leads."""
    credential = ClientSecretCredential(plant.tenant_id, plant.azure_app.client_id, plant.azure_secret)
    client = SecretClient(plant.vault_url, credential)
    return client.get_secret(plant.id_name).value or "", client.get_secret(plant.password_name).value or ""


def _ask_seeq(_plant: AnyPlant, key_id: str, password: str) -> int:
    return requests.post(
        f"https://{SEEQ_HOST}/api/auth/login",
        json={"username": key_id, "password": password, "authProviderClass": "Auth", "authProviderId": "Seeq"},
        headers={"Content-Type": "application/vnd.seeq.v1+json", "Accept": "application/vnd.seeq.v1+json"},
        timeout=10,
    ).status_code


def _ask_entra(plant: AnyPlant, _secret_id: str, value: str) -> int:
    assert isinstance(plant, AzureAppPlant)  # noqa: S101 - for the type checker: its demo makes no other
    return requests.post(
        f"https://{plant.cloud.authorities[0]}/{plant.tenant_id}/oauth2/v2.0/token",
        data={
            "grant_type": "client_credentials",
            "client_id": plant.target.client_id,
            "client_secret": value,
            "scope": f"https://{plant.cloud.graph}/.default",
        },
        timeout=10,
    ).status_code


# -- the plants -----------------------------------------------------------------------------------


def _names(plant: AnyPlant) -> Mapping[str, str]:
    return {plant.user_uid: "RECORD_UID", **dict.fromkeys(plant.attached[:1], "ADMIN_UID")}


@contextlib.contextmanager
def _publish_plant() -> Iterator[PublishPlant]:
    with on_loopback(PublishPlant, value_format="alnum:32") as plant:
        plant.set_field("health_seconds", "10")
        plant.add_aws_mirror("erp/database", plant.written(plant.old_password))
        yield plant


def _add_apps(plant: PublishPlant, heals: object) -> None:
    """Have two apps read the secret. heals: of the second one, as `ContainerApp` has it."""
    portal = plant.add_app("portal", SECRET)
    plant.add_app("inventory", SECRET, heals=heals)
    plant.set_field("health_urls", portal.health_url)


def _leave_a_key_over(plant: AnyPlant) -> None:
    plant.add_key("left over", expires_in_days=200, created_days_ago=160)


def _use_keys_elsewhere_too(plant: AnyPlant) -> None:
    """Beside the one that is left over, have a key of another label, which is none of the script's business."""
    _leave_a_key_over(plant)
    assert isinstance(plant, SeeqUserPlant)  # noqa: S101 - for the type checker: its demo makes no other
    plant.seeq.add_key(plant.user_id, "the user's own spreadsheet", created_days_ago=10)


def _be_slow(plant: AnyPlant) -> None:
    """Have a new secret refused for a while, and then let in here and there only, as Entra does."""
    _leave_a_key_over(plant)
    plant.graph.propagation_seconds = 2
    plant.graph.flapping = (True, False)


DEMOS = {
    "rotate_seeq_application_key": Demo(
        lambda: on_loopback(Plant),
        _leave_a_key_over,
        "Seeq: the application's access keys",
        "application_id",
        _ask_seeq,
    ),
    "rotate_seeq_user_key": Demo(
        lambda: on_loopback(SeeqUserPlant),
        _use_keys_elsewhere_too,
        "Seeq: the user's access keys",
        "user_id",
        _ask_seeq,
    ),
    "rotate_azure_app_secret": Demo(
        lambda: on_loopback(AzureAppPlant),
        _be_slow,
        "Entra: the application's client secrets",
        "application_object_id",
        _ask_entra,
    ),
}


if __name__ == "__main__":
    raise SystemExit(main())
