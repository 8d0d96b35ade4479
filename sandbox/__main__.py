"""The demo: run a script as the Keeper Gateway does, against the sandbox, and show what it did.

`python -m sandbox [SCRIPT]`, or `make demo`, which also builds the bundle it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import requests
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sandbox.gateway import RotationResult
from sandbox.plant import SEEQ_HOST, VAULT, Plant, plant_on_loopback

ROOT = Path(__file__).parents[1]
RUNTIME_PYTHON = ROOT / ".venv-runtime" / "bin" / "python"
SHOWN_FIELDS = ("access_key_id", "access_key_password", "expires", "rotated_at", "last_rotation")


def main() -> int:
    """Show one script's work; return 0 if it rotated and the new credential proved itself."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="Run a script against the sandbox.")
    parser.add_argument("script", nargs="?", default="rotate_seeq_application_key", choices=sorted(DEMOS))
    script = ROOT / "dist" / f"{parser.parse_args().script}.py"
    if not script.exists():
        parser.error(f"{script} is missing: `make bundle` builds it")
    # A pipe gets whole lines; only a terminal has a width to keep to.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    return DEMOS[script.stem](script, console)


def seeq_application_key(script: Path, console: Console) -> int:
    """Rotate a Seeq application's key, mirrored in Key Vault; log in with the new one, not with an old one."""
    with plant_on_loopback() as plant:
        plant.seeq.add_key(plant.application_id, "left over from a project", expires_in_days=200, created_days_ago=160)
        console.rule("[bold]Before")
        _show_state(plant, console)

        console.rule("[bold]The Gateway runs the script")
        result = plant.gateway.run(
            script, plant.payload(), environment=plant.environment(), python=str(RUNTIME_PYTHON), line_end=b"\r\n"
        )
        _show_run(result, plant, console)

        console.rule("[bold]After")
        _show_state(plant, console)

        console.rule("[bold]A consumer")
        old = _log_in(plant, plant.old_key_id, plant.old_password)
        new = _log_in(plant, *_read_key_vault(plant))
        console.print(f"with the credential read from Key Vault, Seeq answers {_verdict(new, wanted=200)}")
        console.print(f"with the old one, Seeq answers {_verdict(old, wanted=401)}")
        return 0 if result.success and (new, old) == (200, 401) else 1


def _show_state(plant: Plant, console: Console) -> None:
    keys = Table("key id", "label", "created", "expires", title="Seeq: the application's access keys")
    for key in plant.seeq.live_keys(plant.application_id):
        keys.add_row(key.key_id, key.label, f"{key.created_at:%Y-%m-%d %H:%M}", f"{key.expiry:%Y-%m-%d}")
    console.print(keys)

    record = Table("field", "value", title=f"Keeper: {plant.keeper.record(plant.user_uid)['title']}")
    for label in SHOWN_FIELDS:
        value = plant.keeper.value(plant.user_uid, label) or ""
        hidden = label == "access_key_password" and value
        record.add_row(label, "••••••••" if hidden else escape(value))
    console.print(record)

    secrets = Table("secret", "version", "enabled", "rotation", "value", title=f"Azure Key Vault: {VAULT}")
    for name in plant.key_vault.names(VAULT):
        for version in reversed(plant.key_vault.versions(VAULT, name)):
            shown = version.value if name == plant.id_name else "••••••••"
            rotation = (version.tags or {}).get("rotation-id", "")
            secrets.add_row(name, version.version[:8], "yes" if version.enabled else "no", rotation, shown)
    console.print(secrets)


def _show_run(result: RotationResult, plant: Plant, console: Console) -> None:
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


def _read_key_vault(plant: Plant) -> tuple[str, str]:
    """Read the pair as a consumer would: with the official SDK, from wherever the environment leads."""
    os.environ.update(plant.wire.environment())
    credential = ClientSecretCredential(plant.tenant_id, plant.azure_app.client_id, plant.azure_secret)
    client = SecretClient(plant.vault_url, credential)
    return client.get_secret(plant.id_name).value or "", client.get_secret(plant.password_name).value or ""


def _log_in(plant: Plant, key_id: str, password: str) -> int:
    os.environ.update(plant.wire.environment())
    return requests.post(
        f"https://{SEEQ_HOST}/api/auth/login",
        json={"username": key_id, "password": password, "authProviderClass": "Auth", "authProviderId": "Seeq"},
        headers={"Content-Type": "application/vnd.seeq.v1+json", "Accept": "application/vnd.seeq.v1+json"},
        timeout=10,
    ).status_code


def _verdict(status: int, *, wanted: int) -> str:
    colour = "green" if status == wanted else "red"
    meaning = "logged in" if status == requests.codes.ok else "refused"
    return f"[{colour}]{status}, {meaning}[/{colour}]"


DEMOS: dict[str, Callable[[Path, Console], int]] = {"rotate_seeq_application_key": seeq_application_key}


if __name__ == "__main__":
    raise SystemExit(main())
