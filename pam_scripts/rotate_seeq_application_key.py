"""Rotate the access key of a Seeq application: Keeper record, Azure Key Vault mirror, old keys gone."""

from __future__ import annotations

from pam_scripts.assembly.script import Script
from pam_scripts.issuers.seeq import application_keys

SCRIPT = Script(
    stem="rotate_seeq_application_key",
    title=__doc__ or "",
    issuer=application_keys,
    record_title="Seeq application key",
    login_prompt="name of the Seeq application",
    admin_title="Seeq admin",
    suggested_by=("application_id",),
)


def main() -> int:
    """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
    return SCRIPT.main()


if __name__ == "__main__":
    raise SystemExit(main())
