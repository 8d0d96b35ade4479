"""Rotate the client secret of an Azure application: Keeper record, Azure Key Vault mirror, old secrets gone."""

from __future__ import annotations

from pam_scripts.assembly.script import Script
from pam_scripts.issuers import azure_app

SCRIPT = Script(
    stem="rotate_azure_app_secret",
    title=__doc__ or "",
    issuer=azure_app,
    record_title="Azure app secret",
    login_prompt="name of the Azure application",
    admin_title="Azure admin application",
    suggested_by=("application_object_id",),
    # Time for Entra to settle, and for putting back when it does not.
    deadline_seconds=240,
)


def main() -> int:
    """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
    return SCRIPT.main()


if __name__ == "__main__":
    raise SystemExit(main())
