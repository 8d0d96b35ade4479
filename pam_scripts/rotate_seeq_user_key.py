"""Rotate the access key of a Seeq user: Keeper record, Azure Key Vault mirror, old keys of our label gone."""

from __future__ import annotations

import re

from pam_scripts.consumers import container_apps
from pam_scripts.core import entra, gateway, rotation
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Field, Settings
from pam_scripts.core.gateway import Job
from pam_scripts.core.http import Session
from pam_scripts.core.roles import Run
from pam_scripts.issuers.seeq.server import ADMIN_FIELDS, Server, find_admin
from pam_scripts.issuers.seeq.user_keys import UserKeys
from pam_scripts.stores import aws_secrets_manager, keeper, key_vault

__all__ = ["ADMIN_FIELDS", "FIELDS", "main"]

# The PAM User record. Labels are public: records in customers' vaults carry them.
FIELDS = (
    Field("seeq_server_url", "address of the Seeq server, https://host"),
    Field("username", "the user whose key it is; empty: the record's login"),
    Field("user_id", "the user's Seeq ID, where the name alone does not tell"),
    Field("key_label", "label of the keys that are ours to replace", default="Keeper"),
    Field("delete_other_labels", "'True': also delete the user's keys with other labels", default="False"),
    Field("days_between_rotations", "for the warning that a key will be dead before its turn", default="30"),
    *key_vault.fields(
        "seeq-user", "PREFIX-USER-key-id and -key-password, USER being user_id, or username with hyphens"
    ),
    *aws_secrets_manager.FIELDS,
    *container_apps.FIELDS,
    *gateway.PLAN_FIELDS,
    *gateway.run_fields(),
    Field("access_key_id", "id of the key: a client's user name", output=True),
    Field("access_key_password", "the key's secret: a client's password", type="secret", output=True),
    # No `expires`: these keys have no end of their own.
    *(field for field in keeper.OUTPUT_FIELDS if field.label != "expires"),
)

IN_KEEPER = keeper.Labels("access_key_id", "access_key_password")
IN_KEY_VAULT = key_vault.Layout(
    id_part="key-id",
    value_part="key-password",
    both_part="key",
    id_field="access_key_id",
    value_field="access_key_password",
    target_tag="seeq-user-id",
)

IN_AWS = aws_secrets_manager.Layout("access_key_id", "access_key_password")


def user_of(job: Job, settings: Settings) -> tuple[str, str]:
    """Return whose key it is: the user's Seeq ID and name, of which one may be empty."""
    user_id = settings.text("user_id", r"[0-9A-Za-z-]{1,64}", "a Seeq ID: letters, digits, hyphens")
    username = settings.text("username") or ("" if user_id else job.user.get("login"))
    if not user_id and not username:
        raise BadInput(f"{job.user.shown}: fields 'username' and 'user_id' and the login are empty; enter one of them")
    return user_id, username


def target_of(job: Job, settings: Settings) -> key_vault.Target:
    """Return whose key it is, in a word that a secret's name may have."""
    user_id, username = user_of(job, settings)
    # A user name has characters that a secret's name may not have.
    target_id = user_id or re.sub(r"[^0-9A-Za-z]+", "-", username).strip("-")
    if not target_id:
        raise BadInput(
            f"{job.user.shown}: the user name {username!r} has no letter or digit that a Key Vault name could take",
            next_step="enter the user's Seeq ID as 'user_id' instead of 'username'",
        )
    return key_vault.Target(target_id, user_id or username)


def script(job: Job, settings: Settings, run: Run) -> None:
    """Read the contract, put the parts together, rotate."""
    user_id, username = user_of(job, settings)
    days_between = settings.number("days_between_rotations", 1, 3650)
    plan = gateway.read_plan(job, settings, None)
    server_url, login = find_admin(job, settings.text("seeq_server_url"), its_own=True)
    session = Session(run.deadline, run.ca_bundle)
    access = keeper.Access(session)
    app = entra.find_app(job)
    issuer = UserKeys(
        Server(server_url, login, session, run.say),
        run.say,
        run.warn,
        username=username,
        user_id=user_id,
        owner=job.user.uid,
        key_label=settings.text("key_label"),
        every_label=settings.flag("delete_other_labels"),
        days_between=days_between,
        own_login=login.record_uid == job.user.uid,
    )
    mirrors = [
        *key_vault.mirrors(job, settings, IN_KEY_VAULT, target_of(job, settings), app, session),
        *aws_secrets_manager.mirrors(job, settings, IN_AWS, session),
    ]
    record = keeper.RecordStore(access.client(), job.user.uid, IN_KEEPER, run.rotation_id)
    rotation.rotate(issuer, record, mirrors, plan, run, container_apps.find(job, settings, app, session))


def main() -> int:
    """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
    return gateway.main("rotate_seeq_user_key", __doc__ or "", FIELDS, script, keeper.fetch_job)


if __name__ == "__main__":
    raise SystemExit(main())
