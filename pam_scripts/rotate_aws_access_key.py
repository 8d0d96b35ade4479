"""Rotate the access key of an AWS IAM user: Keeper record, mirrors, the old key first inactive and then deleted."""

from __future__ import annotations

from pam_scripts.assembly.script import Script
from pam_scripts.issuers import aws_user

SCRIPT = Script(
    stem="rotate_aws_access_key",
    title=__doc__ or "",
    issuer=aws_user,
    record_title="AWS access key",
    login_prompt="name of the IAM user",
    admin_title="AWS admin key",
    suggested_by=("aws_user_name",),
)


def main() -> int:
    """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
    return SCRIPT.main()


if __name__ == "__main__":
    raise SystemExit(main())
