"""The demo: run a script as the Keeper Gateway does, against the sandbox, and show what it did.

`python -m sandbox [SCRIPT]`, or `make demo`, which also builds the bundle it runs. With `--fault` one request is
spoiled; with `--serve` the sandbox stays up, for a shell in another terminal; with `--mirror openbao` the mirror is in
a real OpenBao server, behind the sandbox's front.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import requests
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sandbox import bao, faults
from sandbox.gateway import RotationResult
from sandbox.plant import SEEQ_HOST, VAULT, AnyPlant, AzureAppPlant, Plant, SeeqUserPlant, on_loopback
from sandbox.publishing import SECRET, PublishPlant
from sandbox.services.openbao import ENGINE, HOST

ROOT = Path(__file__).parents[1]
PUBLISH = "publish_secret"
OPENBAO = "openbao"
OPENBAO_SECRET = "plant/demo"
READER = "reader"
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
    keys. ask: log in with a key, as a consumer would, and return the HTTP status; issuer: at whom.
    """

    plant: Callable[..., AbstractContextManager[AnyPlant]]
    prepare: Callable[[AnyPlant], object]
    issued: str
    issuer: str
    ask: Callable[[AnyPlant, str, str], int]


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
    # A pipe gets whole lines; only a terminal has a width to keep to.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    if script.stem == PUBLISH:
        return show_publishing(script, console, options.mirror)
    rule = faults.Rule(FAULTS[options.kind], path=options.fault, nth=1) if options.fault else None
    return show(DEMOS[script.stem], script, console, rule, options.mirror)


@contextmanager
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
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0


def show(demo: Demo, script: Path, console: Console, rule: faults.Rule | None = None, mirror: str | None = None) -> int:
    """Rotate a key that is mirrored; log in with the new one, not with the old one.

    rule: which request is spoiled, and how; None for none. mirror: another than Key Vault; None for that.
    """
    with plant_of(demo, mirror) as plant:
        demo.prepare(plant)
        plant.wire.rules += [rule] if rule else []
        console.rule("[bold]Before")
        _show_state(demo, plant, console)

        console.rule("[bold]The Gateway runs the script")
        result = plant.gateway.run(
            script, plant.payload(), environment=plant.environment(), python=str(RUNTIME_PYTHON), line_end=b"\r\n"
        )
        _show_run(result, plant, console)

        for request in (one for one in plant.wire.log if one.fault):
            console.print(f"request {request.number} was spoiled: {request}", style="yellow")
        plant.wire.rules.clear()
        console.rule("[bold]After")
        _show_state(demo, plant, console)

        console.rule("[bold]A consumer")
        os.environ.update(plant.wire.environment())
        old = demo.ask(plant, plant.old_key_id, plant.old_password)
        new = demo.ask(plant, *(_read_openbao(plant) if mirror else _read_key_vault(plant)))
        store = "OpenBao" if mirror else "Key Vault"
        console.print(f"with the credential read from {store}, {demo.issuer} answers {_verdict(new, wanted=200)}")
        console.print(f"with the old one, {demo.issuer} answers {_verdict(old, wanted=401)}")
        return 0 if result.success and (new, old) == (200, 401) else 1


def show_publishing(script: Path, console: Console, mirror: str | None = None) -> int:
    """Publish a connection string to two vaults and AWS, for two apps; then with one that does not come back.

    mirror: one more.
    """
    verdicts = []
    for heals in (True, False):
        console.rule("[bold]" + ("Two apps read the secret" if heals else "One of the apps does not come back"))
        with ExitStack() as stack:
            plant = stack.enter_context(on_loopback(PublishPlant, value_format="alnum:32"))
            if mirror:
                plant.openbao.stand_behind(stack.enter_context(bao.running()))
                plant.add_openbao_mirror(OPENBAO_SECRET, held={"value": plant.written(plant.old_password)})
            plant.set_field("health_seconds", "10")
            plant.set_field("log_format", "json")
            plant.add_aws_mirror("erp/database", plant.written(plant.old_password))
            known = plant.written(plant.old_password)
            portal = plant.add_app("portal", SECRET)
            plant.add_app("inventory", SECRET, heals=heals or (lambda held: held["credential"] == known))  # noqa: B023 - called before the next turn
            plant.set_field("health_urls", portal.health_url)
            _show_places(plant, "Before", console)
            result = plant.gateway.run(
                script, plant.payload(), environment=plant.environment(), python=str(RUNTIME_PYTHON), line_end=b"\r\n"
            )
            _show_run(result, plant, console)
            _show_places(plant, "After", console)
            same = len({*plant.holdings().values()}) == 1
            well = all(app.healthy and app.restarts == (1 if heals else 2) for app in plant.apps)
            kept = plant.old_password in plant.holdings().values()
            verdicts.append(result.returncode == (0 if heals else 1) and same and well and kept is not heals)
            told = "every place holds the new value, and both apps run on it"
            told = told if heals else "every place holds the old value again, and both apps run on it"
            console.print(f"[green]{told}[/green]" if verdicts[-1] else "[red]this is not what was to be shown[/red]")
    return 0 if all(verdicts) else 1


# -- what is shown --------------------------------------------------------------------------------


def _show_state(demo: Demo, plant: AnyPlant, console: Console) -> None:
    keys = Table("key id", "label", "created", "expires", title=demo.issued)
    for key in plant.issued():
        if key.live:
            ends = f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "never by itself"
            keys.add_row(key.key_id, key.label, f"{key.created_at:%Y-%m-%d %H:%M}", ends)
    console.print(keys)

    record = Table("field", "value", title=f"Keeper: {plant.keeper.record(plant.user_uid)['title']}")
    for label, kind in plant.outputs.items():
        value = plant.keeper.value(plant.user_uid, label) or ""
        record.add_row(label, "••••••••" if kind == "secret" and value else escape(value))
    console.print(record)

    if plant.openbao_secrets:
        _show_openbao(plant, console)
        return
    secrets = Table("secret", "version", "enabled", "rotation", "value", title=f"Azure Key Vault: {VAULT}")
    for name in plant.key_vault.names(VAULT):
        for version in reversed(plant.key_vault.versions(VAULT, name)):
            shown = version.value if name == plant.id_name else "••••••••"
            rotation = (version.tags or {}).get("rotation-id", "")
            secrets.add_row(name, version.version[:8], "yes" if version.enabled else "no", rotation, shown)
    console.print(secrets)


def _show_openbao(plant: AnyPlant, console: Console) -> None:
    tags = plant.openbao.tags(OPENBAO_SECRET)
    table = Table("version", "holds", "value", title=f"OpenBao: {ENGINE}/{OPENBAO_SECRET}")
    label_of_id = next(iter(plant.outputs))
    for version in reversed(plant.openbao.versions(OPENBAO_SECRET)):
        held = f"{(version.data or {}).get(label_of_id)}" if version.data else "destroyed" if version.destroyed else ""
        table.add_row(f"{version.number}", held, "••••••••" if version.data else "")
    console.print(table)
    for word, text in tags.items():
        console.print(f"  {word}: {escape(text)}", style="dim")


def _show_places(plant: PublishPlant, title: str, console: Console) -> None:
    table = Table("place", "holds", "state", title=title)

    def shown(value: str) -> str:
        return "the value of before" if value == plant.old_password else "a new value"

    for place, value in plant.holdings().items():
        table.add_row(place, shown(value), "")
    for app in plant.apps:
        running, health = app.state(app.latest)
        held = shown(plant.value_in(app.holds.get("credential")))
        table.add_row(f"app {app.name}", held, f"{running}, {health}; {app.restarts} restarts")
    console.print(table)


def _show_run(result: RotationResult, plant: AnyPlant, console: Console) -> None:
    console.print(f"$ echo BASE64 | {escape(result.command)}", style="dim")
    for line in result.stdout.splitlines():
        console.print(escape(line))
    for line in result.stderr.splitlines():
        console.print(escape(line), style="red")
    verdict = "[green]success[/green]" if result.success else "[red]failed[/red]"
    console.print(
        f"exit status {result.returncode} ({verdict}), {result.seconds:.1f} s, {len(plant.wire.log)} requests over "
        f"{plant.wire.tls_handshakes} TLS connections"
    )


def _verdict(status: int, *, wanted: int) -> str:
    colour = "green" if status == wanted else "red"
    meaning = "logged in" if status == requests.codes.ok else "refused"
    return f"[{colour}]{status}, {meaning}[/{colour}]"


# -- the consumer ---------------------------------------------------------------------------------


def _read_key_vault(plant: AnyPlant) -> tuple[str, str]:
    """Read the pair as a consumer would: with the official SDK, from wherever the environment leads."""
    credential = ClientSecretCredential(plant.tenant_id, plant.azure_app.client_id, plant.azure_secret)
    client = SecretClient(plant.vault_url, credential)
    return client.get_secret(plant.id_name).value or "", client.get_secret(plant.password_name).value or ""


def _read_openbao(plant: AnyPlant) -> tuple[str, str]:
    """Read the pair as a consumer would: as an AppRole that may read this secret and nothing else."""
    plant.openbao.allow(READER, {f"{ENGINE}/data/{OPENBAO_SECRET}": ["read"]})
    role_id, secret_id = plant.openbao.add_approle(READER)
    base, body = f"https://{HOST}/v1", {"role_id": role_id, "secret_id": secret_id}
    login = requests.post(f"{base}/auth/approle/login", json=body, timeout=10).json()
    headers = {"X-Vault-Token": login["auth"]["client_token"]}
    data = requests.get(f"{base}/{ENGINE}/data/{OPENBAO_SECRET}", headers=headers, timeout=10).json()["data"]["data"]
    label_of_id, label_of_value = list(plant.outputs)[:2]
    return data[label_of_id], data[label_of_value]


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


def _leave_a_key_over(plant: AnyPlant) -> None:
    plant.add_key("left over from a project", expires_in_days=200, created_days_ago=160)


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
        partial(on_loopback, Plant),
        _leave_a_key_over,
        "Seeq: the application's access keys",
        "Seeq",
        _ask_seeq,
    ),
    "rotate_seeq_user_key": Demo(
        partial(on_loopback, SeeqUserPlant),
        _use_keys_elsewhere_too,
        "Seeq: the user's access keys",
        "Seeq",
        _ask_seeq,
    ),
    "rotate_azure_app_secret": Demo(
        partial(on_loopback, AzureAppPlant),
        _be_slow,
        "Entra: the application's client secrets",
        "Entra",
        _ask_entra,
    ),
}


if __name__ == "__main__":
    raise SystemExit(main())
