"""Publish a secret: the password Keeper rotated, or a value made here, to Key Vault, AWS and those who read it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pam_scripts.consumers import container_apps
from pam_scripts.core import entra, gateway, rotation, template
from pam_scripts.core.errors import BadInput, NotCertain
from pam_scripts.core.fields import Field, Settings
from pam_scripts.core.gateway import Job
from pam_scripts.core.http import Session
from pam_scripts.core.roles import Plan, Run
from pam_scripts.core.secret import Secret
from pam_scripts.issuers import values
from pam_scripts.stores import aws_secrets_manager, keeper, key_vault

__all__ = ["ADMIN_FIELDS", "FIELDS", "main"]

# The PAM User record. Labels are public: records in customers' vaults carry them.
FIELDS = (
    Field("value_format", f"what the value is: {values.FORMATS}", default=values.KEEPER),
    Field("value_template", "the text to store, with {password} (or {value}) and {login} in it; empty: the value"),
    Field("value_quoting", "how it is quoted: sql, url, list or plain; empty: as the template looks"),
    Field("secret_name", "the secret's name in every Key Vault"),
    key_vault.VAULT_FIELD,
    *aws_secrets_manager.FIELDS,
    *container_apps.FIELDS,
    *gateway.run_fields(),
    Field("value", "the value, where it was made here", type="secret", output=True),
    *keeper.LOG_FIELDS,
)
ADMIN_FIELDS = (*entra.ADMIN_FIELDS, *container_apps.ADMIN_FIELDS, *aws_secrets_manager.ADMIN_FIELDS)

IN_KEEPER = keeper.Labels("", "value")
IN_KEY_VAULT = key_vault.Layout(value_part="value", target_tag="keeper-record")

_IN_USE = "Keeper has changed the password already, and no store has the new one yet"


def script(job: Job, settings: Settings, run: Run) -> None:
    """Read the contract, put the parts together, publish."""
    value_format = settings.text("value_format").lower()
    from_keeper = value_format == values.KEEPER
    if not from_keeper or not job.new_password:
        return _publish(job, settings, run, value_format)
    # What Keeper made may be in use already: "nothing changed" would be no word of comfort.
    try:
        _publish(job, settings, run, value_format)
    except BadInput as error:
        error.state = _IN_USE
        raise
    if run.dry_run:
        raise NotCertain("'dry_run' is set", state=_IN_USE, next_step="take 'dry_run' out, and rotate again")
    return None


def _publish(job: Job, settings: Settings, run: Run, value_format: str) -> None:
    from_keeper = value_format == values.KEEPER
    value = _from_keeper(job, run) if from_keeper else values.make(value_format)
    form = partial(fill, job, settings)
    Secret(form(value.reveal()))
    session = Session(run.deadline, run.ca_bundle)
    access = keeper.Access(session)
    app = entra.find_app(job)
    mirrors = [
        *key_vault.value_mirrors(job, settings, replace(IN_KEY_VAULT, form=form), app, session),
        *aws_secrets_manager.mirrors(job, settings, aws_secrets_manager.Layout(form=form), session),
    ]
    if not mirrors:
        raise BadInput(
            f"{job.user.shown}: enter 'key_vault_name' or 'aws_secret_id', or there is nowhere to publish to"
        )
    labels = replace(IN_KEEPER, secret="") if from_keeper else IN_KEEPER
    record = keeper.RecordStore(access.client(), job.user.uid, labels, run.rotation_id)
    # What Keeper made is in use already: a native rotation has changed the system before this runs.
    issuer = values.Value(value, job.user.shown, run.rotation_id, reversible=not from_keeper)
    plan = Plan(job.user.uid, life=None, health_seconds=gateway.health_seconds(settings))
    rotation.rotate(issuer, record, mirrors, plan, run, container_apps.find(job, settings, app, session))


def _from_keeper(job: Job, run: Run) -> Secret:
    if not job.new_password and run.dry_run:
        # Looking needs no value, and the vault has none on hand: what stands in for it is never stored.
        return Secret("Pw0-" + run.rotation_id)
    if not job.new_password:
        raise BadInput(
            "the payload's field 'newPassword' is empty, and 'value_format' is 'keeper'",
            next_step="let Keeper rotate the password, or name a format for a value made here, such as alnum:32",
        )
    return job.new_password


def fill(job: Job, settings: Settings, value: str) -> str:
    """Return what is stored for a value; raise BadInput where the template cannot hold it."""
    text = settings.text("value_template")
    quoting = settings.text("value_quoting").lower()
    if quoting and quoting not in template.FORMS:
        raise settings.bad("value_quoting", quoting, ", ".join(template.FORMS))
    if not text:
        return value
    return template.fill(text, quoting, {"login": job.user.get("login"), "password": value, "value": value})


def main() -> int:
    """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
    return gateway.main("publish_secret", __doc__ or "", FIELDS, script, keeper.fetch_job)


if __name__ == "__main__":
    raise SystemExit(main())
