"""Rotate the client secret of an Azure application: Keeper record, Azure Key Vault mirror, old secrets gone."""

from __future__ import annotations

from datetime import timedelta

from pam_scripts.consumers import container_apps
from pam_scripts.core import entra, gateway, rotation
from pam_scripts.core.fields import Field, Settings
from pam_scripts.core.gateway import Job
from pam_scripts.core.http import Session
from pam_scripts.core.roles import Run
from pam_scripts.issuers.entra import AppSecrets, Graph
from pam_scripts.stores import aws_secrets_manager, keeper, key_vault

# The PAM User record. The first and the outputs are those of Keeper's own sample script.
FIELDS = (
    Field("application_object_id", "the application's object id, or its client id", required=True),
    *key_vault.fields("azure-app", "PREFIX-APPLICATION_OBJECT_ID-secret-id and -secret"),
    Field("expiry_days", "life of the new secret, in days", default="365"),
    *aws_secrets_manager.FIELDS,
    *container_apps.FIELDS,
    *gateway.PLAN_FIELDS,
    Field("settling_seconds", "seconds that Entra may take to accept a new secret everywhere", default="90"),
    # Time for Entra to settle, and for putting back when it does not.
    *gateway.run_fields(deadline=240),
    Field("client_secret_id", "id of the client secret", output=True),
    Field("client_secret", "the client secret", type="secret", output=True),
    *keeper.OUTPUT_FIELDS,
)

# The record attached to the script: the application that makes and deletes the secrets.
ADMIN_FIELDS = entra.ADMIN_FIELDS

IN_KEEPER = keeper.Labels("client_secret_id", "client_secret")
IN_KEY_VAULT = key_vault.Layout(
    id_part="secret-id",
    value_part="secret",
    both_part="credential",
    id_field="client_secret_id",
    value_field="client_secret",
    target_tag="entra-application-id",
)

IN_AWS = aws_secrets_manager.Layout("client_secret_id", "client_secret")


def target_of(_job: Job, settings: Settings) -> key_vault.Target:
    """Return whose secret it is."""
    return key_vault.Target(
        settings.text("application_object_id", r"[0-9A-Fa-f-]{36}", "an id such as 0fe1...: 36 characters")
    )


def script(job: Job, settings: Settings, run: Run) -> None:
    """Read the contract, put the parts together, rotate."""
    target = target_of(job, settings)
    plan = gateway.read_plan(job, settings, timedelta(days=settings.number("expiry_days", 1, 730)))
    settling = settings.number("settling_seconds", 0, 600)
    cloud, app = entra.find_cloud(job), entra.find_app(job, its_own=True)
    session = Session(run.deadline, run.ca_bundle)
    access = keeper.Access(session)
    mirrors = [
        *key_vault.mirrors(job, settings, IN_KEY_VAULT, target, app, session),
        *aws_secrets_manager.mirrors(job, settings, IN_AWS, session),
    ]
    record = keeper.RecordStore(access.client(), job.user.uid, IN_KEEPER, run.rotation_id)
    issuer = AppSecrets(
        Graph(cloud, entra.log_in(app, cloud.authority, session), session),
        target.id,
        tenant_id=app.tenant_id if app else "",
        admin_client_id=app.client_id if app else "",
        rotates_itself=app is not None and app.record_uid == job.user.uid,
        settling=settling,
        say=run.say,
    )
    rotation.rotate(issuer, record, mirrors, plan, run, container_apps.find(job, settings, app, session))


def main() -> int:
    """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
    return gateway.main("rotate_azure_app_secret", __doc__ or "", FIELDS, script, keeper.fetch_job)


if __name__ == "__main__":
    raise SystemExit(main())
