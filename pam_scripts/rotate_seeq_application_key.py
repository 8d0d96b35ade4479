"""Rotate the access key of a Seeq application: Keeper record, Azure Key Vault mirror, old keys gone."""

from __future__ import annotations

from datetime import timedelta

from pam_scripts.consumers import container_apps
from pam_scripts.core import entra, gateway, rotation
from pam_scripts.core.fields import Field, Settings
from pam_scripts.core.gateway import Job
from pam_scripts.core.http import Session
from pam_scripts.core.roles import Run
from pam_scripts.issuers.seeq.keys import ApplicationKeys
from pam_scripts.issuers.seeq.server import ADMIN_FIELDS, Server, find_admin
from pam_scripts.stores import aws_secrets_manager, keeper, key_vault

__all__ = ["ADMIN_FIELDS", "FIELDS", "main"]

# The PAM User record. Labels are public: records in customers' vaults carry them.
FIELDS = (
    Field("seeq_server_url", "address of the Seeq server, https://host", default=""),
    Field("application_id", "the Seeq ID of the application", required=True),
    *key_vault.fields("seeq-app", "PREFIX-APPLICATION_ID-key-id and -key-password"),
    Field("expiry_days", "life of the new key, in days", default="90"),
    *aws_secrets_manager.FIELDS,
    *container_apps.FIELDS,
    *gateway.PLAN_FIELDS,
    *gateway.run_fields(),
    Field("access_key_id", "id of the key: a client's user name", output=True),
    Field("access_key_password", "the key's secret: a client's password", type="secret", output=True),
    *keeper.OUTPUT_FIELDS,
)

IN_KEEPER = keeper.Labels("access_key_id", "access_key_password")
IN_KEY_VAULT = key_vault.Layout(
    id_part="key-id",
    value_part="key-password",
    both_part="key",
    id_field="access_key_id",
    value_field="access_key_password",
    target_tag="seeq-application-id",
)

IN_AWS = aws_secrets_manager.Layout("access_key_id", "access_key_password")


def target_of(_job: Job, settings: Settings) -> key_vault.Target:
    """Return whose key it is."""
    return key_vault.Target(
        settings.text("application_id", r"[0-9A-Za-z-]{1,64}", "a Seeq ID: letters, digits, hyphens")
    )


def script(job: Job, settings: Settings, run: Run) -> None:
    """Read the contract, put the parts together, rotate."""
    target = target_of(job, settings)
    plan = gateway.read_plan(job, settings, timedelta(days=settings.number("expiry_days", 1, 3650)))
    server_url, login = find_admin(job, settings.text("seeq_server_url"))
    session = Session(run.deadline, run.ca_bundle)
    access = keeper.Access(session)
    app = entra.find_app(job)
    issuer = ApplicationKeys(Server(server_url, login, session, run.say), target.id, run.say)
    mirrors = [
        *key_vault.mirrors(job, settings, IN_KEY_VAULT, target, app, session),
        *aws_secrets_manager.mirrors(job, settings, IN_AWS, session),
    ]
    record = keeper.RecordStore(access.client(), job.user.uid, IN_KEEPER, run.rotation_id)
    rotation.rotate(issuer, record, mirrors, plan, run, container_apps.find(job, settings, app, session))


def main() -> int:
    """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
    return gateway.main("rotate_seeq_application_key", __doc__ or "", FIELDS, script, keeper.fetch_job)


if __name__ == "__main__":
    raise SystemExit(main())
