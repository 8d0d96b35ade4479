"""Rotate the secret of a Keycloak client: made here, set, proven; Keeper record, mirrors, the old one gone."""

from __future__ import annotations

from pam_scripts.assembly.script import Script
from pam_scripts.issuers import keycloak

SCRIPT = Script(
    stem="rotate_keycloak_client_secret",
    title=__doc__ or "",
    issuer=keycloak,
    record_title="Keycloak client secret",
    login_prompt="client id of the Keycloak client",
    admin_title="Keycloak admin",
    suggested_by=("keycloak_url",),
)


def main() -> int:
    """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
    return SCRIPT.main()


if __name__ == "__main__":
    raise SystemExit(main())
