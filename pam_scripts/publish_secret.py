"""Publish a secret: the password Keeper rotated, or a value made here, to Key Vault, AWS and those who read it."""

from __future__ import annotations

from dataclasses import replace

from pam_scripts.assembly.registry import MIRRORS
from pam_scripts.assembly.script import RotationSpec, Script
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Record
from pam_scripts.gateway.payload import Job
from pam_scripts.issuers import values
from pam_scripts.stores import previous


class PublishSecret(Script):
    """The script whose value may come from Keeper, which then has changed it in its system already."""

    def read(self, job: Job) -> RotationSpec:
        """Read all that a job's records say; a value without a mirror has nowhere to go to.

        Nor is the one before of any use to anybody where Keeper has replaced it.
        """
        spec = super().read(job)
        problems = list(spec.problems)
        if not any(job.user.get(kind.LABEL) for kind in MIRRORS):
            labels = " or ".join(f"'{kind.LABEL}'" for kind in MIRRORS)
            nowhere = f"no mirror is named in {labels}, so that there is nowhere to publish to"
            problems.append(BadInput(f"{job.user.shown}: {nowhere}", next_step="enter one of them"))
        second = previous.filled_in(self.inputs, job)
        # Where the field is wrong by itself, that is told once.
        if second and not problems and self.is_begun_by_keeper(job.user):
            dead = f"field '{second[0]}' keeps the value before, and Keeper ends that when it makes a new one"
            way_out = f"empty it; or name a format for a value made here in '{values.VALUE_FORMAT.label}'"
            problems.append(BadInput(f"{job.user.shown}: {dead}", next_step=way_out))
        return replace(spec, problems=problems)

    def is_begun_by_keeper(self, record: Record) -> bool:
        """Say whether the value is the password that Keeper makes."""
        return record.get(values.VALUE_FORMAT.label).lower() in ("", values.KEEPER)

    def untouched(self, job: Job) -> str:
        """Say what state a run leaves that has touched nothing: what Keeper made may be in use already."""
        if self.is_begun_by_keeper(job.user) and job.new_password:
            return "Keeper has changed the password already, and no store has the new one yet"
        return super().untouched(job)


SCRIPT = PublishSecret(
    stem="publish_secret",
    title=__doc__ or "",
    issuer=values,
    record_title="Published secret",
    login_prompt="user name that the password belongs to, if any",
    admin_title="Mirror admin",
    suggested_by=("secret_name", "value_format", "value_template"),
    has_keys=False,
)


def main() -> int:
    """Run as the Keeper Gateway does, or with `--check`; return the exit status."""
    return SCRIPT.main()


if __name__ == "__main__":
    raise SystemExit(main())
