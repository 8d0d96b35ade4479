"""Rotate the password of a RabbitMQ user, or of two that take turns: Keeper record, mirrors, the old one gone."""

from __future__ import annotations

from pam_scripts.assembly.script import Script
from pam_scripts.issuers import rabbitmq

SCRIPT = Script(
    stem="rotate_rabbitmq_password",
    title=__doc__ or "",
    issuer=rabbitmq,
    record_title="RabbitMQ password",
    login_prompt="name of the RabbitMQ user",
    admin_title="RabbitMQ admin",
    suggested_by=("rabbitmq_url",),
)


def main() -> int:
    """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
    return SCRIPT.main()


if __name__ == "__main__":
    raise SystemExit(main())
