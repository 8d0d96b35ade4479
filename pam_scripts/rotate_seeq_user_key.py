"""Rotate the access key of a Seeq user: Keeper record, Azure Key Vault mirror, old keys of our label gone."""

from __future__ import annotations

from pam_scripts.assembly.script import Script
from pam_scripts.issuers.seeq import user_keys

SCRIPT = Script(
    stem="rotate_seeq_user_key",
    title=__doc__ or "",
    issuer=user_keys,
    record_title="Seeq user key",
    login_prompt="user name of the Seeq user",
    admin_title="Seeq admin",
    suggested_by=("username", "user_id", "key_label", "access_key_id"),
)


def main() -> int:
    """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
    return SCRIPT.main()


if __name__ == "__main__":
    raise SystemExit(main())
