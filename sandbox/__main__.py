"""The demo: run a script as the Keeper Gateway does, against the sandbox, and show what it did; then kill one half-way.

`python -m sandbox [SCRIPT]`, or `make demo`, which also builds the bundle it runs. With `--fault` one request is
spoiled; with `--serve` the sandbox stays up, for a shell in another terminal; with `--mirror openbao` the mirror is in
a real OpenBao server, behind the sandbox's front.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import requests
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ApiError
from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.core.words import count
from pam_scripts.issuers.aws_user.client import Iam
from pam_scripts.issuers.azure_resource import proof
from pam_scripts.logins import aws
from sandbox import bao, faults
from sandbox.iam_users import IamPlant
from sandbox.messaging import RabbitPlant
from sandbox.plant import SEEQ_HOST, AnyPlant, AzureAppPlant, Plant, SeeqUserPlant, on_loopback
from sandbox.publishing import SECRET, PublishPlant
from sandbox.realm import REALM, KeycloakPlant
from sandbox.runs import Killed, named, run
from sandbox.screens import WIDTH, Screens
from sandbox.seen import OPENBAO_SECRET, Seen, table
from sandbox.services.keycloak import HOST as KEYCLOAK_HOST
from sandbox.services.rabbitmq import HOST as RABBITMQ_HOST
from sandbox.slots import SlotPlant

Wait = Callable[[], object]

ROOT = Path(__file__).parents[1]
PUBLISH = "publish_secret"
OPENBAO = "openbao"
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

    plant: makes the plant, with its options; prepare: puts something in its way. issued: the title over the issuer's
    keys. target: which attribute of the plant has the long id of their owner, empty where its name is short. ask: log
    in with a key, as a consumer would, and return the HTTP status. one_lives: a new key ends the one before it. before:
    what there is to see at first. after: what else there is to see at the end.
    """

    plant: Callable[..., AbstractContextManager[AnyPlant]]
    prepare: Callable[[AnyPlant], object]
    issued: str
    target: str
    ask: Callable[[AnyPlant, str, str], int]
    one_lives: bool = False
    before: str = "More than one key is alive, and nobody knows any more which may go."
    after: str = ""

    def names(self, plant: AnyPlant) -> Mapping[str, str]:
        """Return what stands for long ids in what is shown."""
        long = {getattr(plant, self.target): self.target.upper()} if self.target else {}
        return {**long, **_names(plant)}


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    whole = argparse.ArgumentParser(prog="python -m sandbox", description="Run a script against the sandbox.")
    whole.add_argument("script", nargs="?", default="rotate_seeq_application_key", choices=[*DEMOS, PUBLISH])
    whole.add_argument("--fault", metavar="PATH", help="spoil the first request to this path, * for any characters")
    whole.add_argument("--as", dest="kind", choices=FAULTS, default="effect, no answer", help="what happens to it")
    whole.add_argument("--mirror", choices=[OPENBAO], help="another mirror than Key Vault")
    whole.add_argument("--serve", action="store_true", help="rotate nothing; keep the sandbox up until Ctrl-C")
    return whole


def main() -> int:
    """Show one script's work; return 0 if it rotated and the new credential proved itself."""
    options = parser().parse_args()
    if options.script == PUBLISH and (options.fault or options.serve):
        parser().error(f"{PUBLISH} has neither --fault nor --serve")
    if options.mirror and not bao.INSTALLED.exists():
        parser().error(f"{bao.INSTALLED} is missing: `make demo MIRROR={OPENBAO}` installs it")
    if options.serve:
        return serve(DEMOS[options.script], options.mirror)
    script = ROOT / "dist" / f"{options.script}.py"
    if not script.exists():
        parser().error(f"{script} is missing: `make bundle` builds it")
    console = Console(highlight=False, width=WIDTH)
    wait = until_read if sys.stdin.isatty() and sys.stdout.isatty() else ignore
    try:
        if script.stem == PUBLISH:
            return show_publishing(script, console, wait, options.mirror)
        rule = faults.Rule(FAULTS[options.kind], path=options.fault, nth=1) if options.fault else None
        return show(DEMOS[script.stem], script, console, rule, wait, options.mirror)
    except KeyboardInterrupt:
        return 130


def until_read() -> None:
    """Wait for Enter, and take the line that asks for it away again."""
    with contextlib.suppress(EOFError):
        input("Enter: go on   Ctrl-C: leave ")
        sys.stdout.write("\x1b[1A\x1b[2K")


def ignore() -> None:
    """Wait for nobody."""


@contextlib.contextmanager
def plant_of(demo: Demo, mirror: str | None) -> Iterator[AnyPlant]:
    """Have a demo's plant listen, with its mirror in Key Vault or in a real OpenBao server."""
    if not mirror:
        with demo.plant() as plant:
            yield plant
        return
    with demo.plant(mirrored=False) as plant, bao.running() as server:
        plant.openbao.stand_behind(server)
        both = dict(zip(list(plant.outputs)[:2], (plant.old_key_id, plant.old_password), strict=True))
        plant.add_openbao_mirror(OPENBAO_SECRET, held=both)
        yield plant


def serve(demo: Demo, mirror: str | None = None) -> int:
    """Keep a plant up, with its script attached to its record, and say what leads a shell to it; return 0 on Ctrl-C."""
    with plant_of(demo, mirror) as plant:
        demo.prepare(plant)
        value = {"fileRef": "A" * 22, "command": "python3", "recordRef": list(plant.attached)}
        field = {"type": "script", "label": "rotationScripts", "value": [value]}
        plant.keeper.edit(plant.user_uid, lambda data: data["fields"].append(field))
        uids = {"RECORD_UID": plant.user_uid, "ADMIN_UID": "".join(plant.attached[:1])}
        for name, text in {**plant.environment(), **uids}.items():
            sys.stdout.write(f"export {name}={shlex.quote(text)}\n")
        sys.stdout.flush()
        # A shell that starts it in the background has it ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0


def show(  # noqa: PLR0913, PLR0917 - each is one thing that a demo may have otherwise
    demo: Demo,
    script: Path,
    console: Console,
    rule: faults.Rule | None = None,
    wait: Wait = ignore,
    mirror: str | None = None,
) -> int:
    """Rotate a key that is mirrored; kill a second rotation half-way, and have a third one mend that.

    rule: one request that is spoiled instead, and how: then there is one rotation, and no more. wait: called after
    each screen. mirror: another than Key Vault; None for that.
    """
    screens = Screens(console, 3 if rule else 7, wait)
    with plant_of(demo, mirror) as plant:
        demo.prepare(plant)
        os.environ.update(plant.wire.environment())
        seen = Seen(plant, demo.issued, demo.ask)
        plant.wire.rules += [rule] if rule else []
        before = seen.look()
        screens.show("Before", *before.shown(demo.before))

        asked = len(plant.wire.log)
        result, lines = run(script, RUNTIME_PYTHON, demo.names(plant), plant)
        lines += [
            named(f"its request {number} was spoiled: {one}", demo.names(plant), "yellow")
            for number, one in enumerate(plant.wire.log[asked:], 1)
            if one.fault
        ]
        screens.show("The Gateway runs the script", *lines)
        plant.wire.rules.clear()
        after = seen.look()
        rotated = result.success and after.is_rotated_from(before)
        told = "Each place holds the new key, and it logs in. The keys that it replaces are refused."
        told = told + demo.after if rotated else "This is what the fault has left." if rule else NOT_SHOWN
        screens.show("After", *after.shown(told))
        if rule:
            return 0 if rotated else 1

        if isinstance(plant, AzureAppPlant):
            # That Entra takes its time was to be seen once; the rest goes on quickly.
            plant.graph.propagation_seconds, plant.graph.flapping = 0, ()
        killed = Killed(plant, one_lives=demo.one_lives)
        result, lines = run(script, RUNTIME_PYTHON, demo.names(plant), plant, killed)
        screens.show("The next rotation is killed half-way", *killed.shown(lines))
        half = seen.look()
        apart = result.returncode == -signal.SIGKILL and half.is_split_from(after, one_lives=demo.one_lives)
        told = (
            f"Keeper holds a newer key than {seen.mirror}, and both log in: the old one would have been deleted "
            "last. Whoever reads either place goes on working, however long this lasts."
        )
        if demo.one_lives:
            told = (
                f"Keeper holds the newer value, and {seen.mirror} the one that it has ended: there is one at a time. "
                "Whoever logs in anew with that is refused until the next rotation, which sets both places."
            )
        screens.show("What the kill left", *half.shown(told if apart else NOT_SHOWN))

        lease = killed.end_lease()
        result, lines = run(script, RUNTIME_PYTHON, demo.names(plant), plant)
        screens.show("The rotation after it", lease, *lines)
        end = seen.look()
        mended = result.success and (end.is_rotated_from(half) or end.is_brought_to_its_end_from(half))
        told = "Each place holds one key, and it logs in. The two that the kill had left apart are refused."
        if not end.is_rotated_from(half):
            told = "Each place holds the newer key, and it logs in. The other one that the kill had left is refused."
        screens.show("The end", *end.shown(told + demo.after if mended else NOT_SHOWN))
        return 0 if rotated and apart and mended else 1


def show_publishing(script: Path, console: Console, wait: Wait = ignore, mirror: str | None = None) -> int:
    """Publish a connection string to two vaults and AWS, for two apps: three times, of which two go wrong.

    mirror: one more.
    """
    screens, verdicts = Screens(console, 10, wait), []
    for heals in (True, False):
        with _publish_plant(mirror) as plant:
            known = plant.written(plant.old_password)
            _add_apps(plant, heals=heals or (lambda held: held["credential"] == known))  # noqa: B023 - called before the next turn
            told = "Two apps read a connection string."
            told = told if heals else "The same once more; but with a new value one of the apps does not come back."
            screens.show("Before", Text(told), _places(plant))
            result, lines = run(script, RUNTIME_PYTHON, _names(plant), plant)
            screens.show("The Gateway runs the script", *lines)
            same = len({*plant.holdings().values()}) == 1
            well = all(app.healthy and app.restarts == (1 if heals else 2) for app in plant.apps)
            kept = plant.old_password in plant.holdings().values()
            verdicts.append(result.returncode == (0 if heals else 1) and same and well and kept is not heals)
            told = "Every place holds the new value, and both apps run on it."
            told = told if heals else "Every place holds the old value again, and both apps run on it."
            screens.show("After", _places(plant), _verdict(told, holds=verdicts[-1]))
    with _publish_plant(mirror) as plant:
        _add_apps(plant, heals=True)
        killed = Killed(plant)
        result, lines = run(script, RUNTIME_PYTHON, _names(plant), plant, killed)
        screens.show("A rotation is killed half-way", *killed.shown(lines))
        well = all(app.healthy and not app.restarts for app in plant.apps)
        verdicts.append(result.returncode == -signal.SIGKILL and len({*plant.holdings().values()}) > 1 and well)
        told = "Keeper is ahead of the rest. No value is mixed, and both apps run: nothing has told them to change."
        screens.show("What the kill left", _places(plant), _verdict(told, holds=verdicts[-1]))
        lease = killed.end_lease()
        result, lines = run(script, RUNTIME_PYTHON, _names(plant), plant)
        screens.show("The rotation after it", lease, *lines)
        same = len({*plant.holdings().values()}) == 1 and plant.old_password not in plant.holdings().values()
        verdicts.append(result.success and same and all(app.healthy for app in plant.apps))
        told = "Every place holds one new value, and both apps run on it."
        screens.show("The end", _places(plant), _verdict(told, holds=verdicts[-1]))
    return 0 if all(verdicts) else 1


# -- what is shown --------------------------------------------------------------------------------


def _places(plant: PublishPlant) -> Table:
    places = table("Where it is stored, and who runs on it", "place", "holds", "state")
    made: list[str] = []

    def shown(value: str) -> str:
        if value == plant.old_password:
            return "the value of before"
        made.extend([] if value in made else [value])
        return "a new value" if made[0] == value else "another new value"

    for place, value in plant.holdings().items():
        places.add_row(place, shown(value), "")
    for app in plant.apps:
        running, health = app.state(app.latest)
        held = shown(plant.value_in(app.holds.get("credential")))
        restarts = count(app.restarts, "restart")
        places.add_row(f"app {app.name}", held, f"{running}, {health}; {restarts}")
    return places


def _verdict(told: str, *, holds: bool) -> Text:
    return Text(told, "bold green") if holds else Text(NOT_SHOWN, "bold red")


# -- the consumers --------------------------------------------------------------------------------


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


def _ask_storage(plant: AnyPlant, _key_id: str, value: str) -> int:
    assert isinstance(plant, SlotPlant)  # noqa: S101 - for the type checker: its demo makes no other
    place = proof.Place(plant.resource.host, plant.resource.port, plant.resource.name)
    try:
        proof.log_in_to_blobs(place, Secret(value), Session(Deadline(10)), "look")
    except ApiError as error:
        return error.code or 0
    return 200


# -- the plants -----------------------------------------------------------------------------------


def _names(plant: AnyPlant) -> Mapping[str, str]:
    return {plant.user_uid: "RECORD_UID", **dict.fromkeys(plant.attached[:1], "ADMIN_UID")}


@contextlib.contextmanager
def _publish_plant(mirror: str | None) -> Iterator[PublishPlant]:
    with contextlib.ExitStack() as stack:
        plant = stack.enter_context(on_loopback(PublishPlant, value_format="alnum:32"))
        if mirror:
            plant.openbao.stand_behind(stack.enter_context(bao.running()))
            plant.add_openbao_mirror(OPENBAO_SECRET, held={"value": plant.written(plant.old_password)})
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


def _ask_rabbitmq(_plant: AnyPlant, username: str, password: str) -> int:
    """Log in at the management plug-in, which says 401 of a right password, too, where it lets the user not in."""
    url = f"https://{RABBITMQ_HOST}/api/whoami"
    return requests.get(url, auth=(username, password), timeout=10).status_code


def _ask_aws(_plant: AnyPlant, key_id: str, value: str) -> int:
    """Ask STS who has a key, as a consumer's SDK would; 403 for one that is not let in."""
    identity = aws.Identity(key_id, Secret(value))
    try:
        Iam("eu-central-1", identity, Session(Deadline(10))).who()
    except ApiError as error:
        return error.code or 0
    return 200


def _ask_keycloak(_plant: AnyPlant, client_id: str, secret: str) -> int:
    """Ask for a token as the client."""
    url = f"https://{KEYCLOAK_HOST}/realms/{REALM}/protocol/openid-connect/token"
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    return requests.post(url, data=form, timeout=10).status_code


def _be_slow(plant: AnyPlant) -> None:
    """Have a new secret refused for a while, and then let in here and there only, as Entra does."""
    _leave_a_key_over(plant)
    plant.graph.propagation_seconds = 2
    plant.graph.flapping = (True, False)


DEMOS = {
    "rotate_seeq_application_key": Demo(
        partial(on_loopback, Plant),
        _leave_a_key_over,
        "Seeq: the application's access keys",
        "application_id",
        _ask_seeq,
    ),
    "rotate_seeq_user_key": Demo(
        partial(on_loopback, SeeqUserPlant),
        _use_keys_elsewhere_too,
        "Seeq: the user's access keys",
        "user_id",
        _ask_seeq,
        after=" The spreadsheet's has another label: no business of the script's.",
    ),
    "rotate_rabbitmq_password": Demo(
        partial(on_loopback, RabbitPlant),
        _leave_a_key_over,
        "RabbitMQ: the passwords of two users",
        "",
        _ask_rabbitmq,
        before="Two users take turns: the stores hold one, and nobody is told the other's password.",
    ),
    "rotate_keycloak_client_secret": Demo(
        partial(on_loopback, KeycloakPlant),
        lambda _plant: None,
        "Keycloak: the client's secret",
        "",
        _ask_keycloak,
        one_lives=True,
        before="There is one value at a time: a new one ends the one before it.",
    ),
    "rotate_azure_app_secret": Demo(
        partial(on_loopback, AzureAppPlant),
        _be_slow,
        "Entra: the application's client secrets",
        "application_object_id",
        _ask_entra,
    ),
    "rotate_azure_resource_key": Demo(
        partial(on_loopback, SlotPlant),
        lambda _plant: None,
        "Azure: the storage account's two keys",
        "subscription_id",
        _ask_storage,
        before="There are always two keys. The stores hold one; whoever uses the other unseen is cut off first.",
        after=" Nobody is told what the other slot holds now.",
    ),
    "rotate_aws_access_key": Demo(
        partial(on_loopback, IamPlant),
        lambda plant: setattr(plant.iam, "unaccepted", 2),
        "AWS: the user's access keys",
        "",
        _ask_aws,
        before="AWS lets a user have two keys: there is room for the next one.",
    ),
}


if __name__ == "__main__":
    raise SystemExit(main())
