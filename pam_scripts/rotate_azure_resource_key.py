"""Rotate an Azure resource's access key, of the two that it has: Redis, Storage; Keeper record, mirrors."""

from __future__ import annotations

from pam_scripts.assembly.script import Script
from pam_scripts.issuers import azure_resource

SCRIPT = Script(
    stem="rotate_azure_resource_key",
    title=__doc__ or "",
    issuer=azure_resource,
    record_title="Azure resource key",
    login_prompt="name of the Azure resource",
    admin_title="Azure admin application",
    suggested_by=("resource_id",),
    # Regenerating a key is an operation that Azure may take minutes for, and two of them go one after the other.
    deadline_seconds=600,
)


def main() -> int:
    """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
    return SCRIPT.main()


if __name__ == "__main__":
    raise SystemExit(main())
