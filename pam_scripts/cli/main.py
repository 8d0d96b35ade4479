"""The command: what it takes, and which part does the work."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pam_scripts import __version__
from pam_scripts.cli import check, doctor, templates
from pam_scripts.cli.audit import page, report, survey
from pam_scripts.cli.audit.subject import Cadence
from pam_scripts.cli.common import Progress
from pam_scripts.cli.kinds import KINDS, Kind
from pam_scripts.cli.looks import seeq as seeq_look
from pam_scripts.cli.shared import Shared
from pam_scripts.core import entra
from pam_scripts.core.errors import BadInput, NotCertain, PamScriptError, defect
from pam_scripts.core.fields import Record, Settings
from pam_scripts.core.gateway import Job, Voice
from pam_scripts.core.http import Session
from pam_scripts.core.patience import Deadline
from pam_scripts.core.secret import Secret
from pam_scripts.issuers.seeq.server import Server, find_admin
from pam_scripts.stores import aws_secrets_manager, keeper

_APPLICATION_KEYS = KINDS[0].stem


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # What libraries log could carry values.
    logging.getLogger().addHandler(logging.NullHandler())
    options = parser().parse_args(arguments)
    voice = Voice()
    try:
        return int(options.work(options, voice))
    except PamScriptError as error:
        voice.fail(error)
        return error.status
    except KeyboardInterrupt:
        return 1
    except Exception as error:  # noqa: BLE001 - the last net: no traceback ever, it could carry values
        voice.fail(NotCertain(defect(error)))
        return NotCertain.status


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    whole = argparse.ArgumentParser(
        prog="pam-scripts",
        description="See trouble before it happens: look at rotations, records and this host, and change none of them.",
        epilog="All but templates need the Gateway's Secrets Manager configuration: run them as the Gateway's user.",
    )
    whole.add_argument("--version", action="version", version=__version__)
    commands = whole.add_subparsers(metavar="COMMAND", required=True)
    _add_check(commands)
    _add_audit(commands)
    _add_templates(commands)
    _add_payload(commands)
    _add_doctor(commands)
    return whole


# -- check, payload -------------------------------------------------------------------------------


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    one = commands.add_parser(
        "check",
        help="look at everything that a rotation would look at, and change nothing",
        description="The dry run of the right script for each record, chosen by the record's fields.",
        epilog="Exit status: the worst of the records'; 0 means that a rotation would go through all that could be "
        "looked at.",
    )
    one.add_argument("records", metavar="RECORD", nargs="+", help="UID of a PAM User record")
    _add_sources(one)
    one.set_defaults(work=_check)


def _check(options: argparse.Namespace, voice: Voice) -> int:
    return check.check(_fetch(options), options.records, voice)


def _add_payload(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    one = commands.add_parser(
        "payload",
        help="build what the Gateway pipes into a script, to try one by hand",
        description="Write the Gateway's payload for a record to standard output: one line of Base64.",
        epilog="The payload carries every secret value of the records in it, the admin's password among them, and "
        "Base64 hides nothing. Pipe it straight into a script (pam-scripts payload UID | python dist/SCRIPT.py); "
        "never keep it in a file. Beware: the script then rotates, unless 'dry_run' is 'True' in the record. "
        "For publish_secret the record's present password stands for the one that Keeper would just have made.",
    )
    one.add_argument("record", metavar="RECORD", help="UID of a PAM User record")
    one.add_argument("--to-terminal", action="store_true", help="write the secrets to a terminal all the same")
    _add_sources(one)
    one.set_defaults(work=_payload)


def _payload(options: argparse.Namespace, _voice: Voice) -> int:
    # Before anything is fetched: nobody must wait for a refusal.
    check.refuse_terminal(sys.stdout.isatty(), options.to_terminal)
    _write(check.payload(_fetch(options), options.record), with_secrets=True)
    return 0


# -- audit ----------------------------------------------------------------------------------------


def _add_audit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    one = commands.add_parser(
        "audit",
        help="find what is wrong with all rotations, each with the way out",
        description="Look at every record of a rotation that is shared to the Gateway's application, at its keys and "
        "at its mirrors in Key Vault, and say what is wrong. Mirrors in AWS are not looked at. No secret value is read "
        "but the admins' own.",
        epilog="Exit status: 0 nothing is wrong; 1 something is; 2 the audit itself could not be done.",
    )
    shape = one.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="JSON in place of the table")
    shape.add_argument("--csv", action="store_true", help="CSV in place of the table")
    shape.add_argument("--problems", action="store_true", help="only the records with problems in the table")
    one.add_argument("--html", metavar="FILE", type=Path, help="also write one self-contained page")
    one.add_argument(
        "--every",
        metavar="DAYS",
        type=_days,
        help="the days between two rotations of your schedule: finds keys that end first, and rotations that are late",
    )
    one.add_argument(
        "--warn-days",
        metavar="DAYS",
        type=_days,
        default=Cadence().warn_days,
        help="call a key soon to expire so many days ahead (default: %(default)s)",
    )
    one.add_argument(
        "--seconds",
        metavar="N",
        type=_days,
        default=600,
        help="time that the whole audit may take (default: %(default)s)",
    )
    _add_sources(one, "stands for attached records where a record's own script settings name none; may be repeated")
    one.set_defaults(work=_audit)


def _audit(options: argparse.Namespace, voice: Voice) -> int:
    deadline = Deadline(options.seconds)
    progress = Progress()
    progress.say("keeper: asking for all records")
    try:
        shared = Shared.fetch(deadline, options.credential, options.configuration)
        result = survey.audit(shared, deadline, Cadence(options.every, options.warn_days), progress)
    except PamScriptError as error:
        # 1 is what a scheduler takes for findings.
        error.state = error.state or "nothing was audited"
        voice.fail(error)
        return BadInput.status
    finally:
        progress.end()
    if options.html:
        _write_page(options.html, page.page(result))
    if options.json:
        _write(report.as_json(result))
    elif options.csv:
        _write(report.as_csv(result).rstrip("\n"))
    else:
        _write(report.table(result, only_problems=options.problems))
    return 1 if result.ill else 0


def _write_page(path: Path, text: str) -> None:
    try:
        path.write_text(Secret.redact(text), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} cannot be written to ({type(error).__name__})") from None


# -- templates ------------------------------------------------------------------------------------


def _add_templates(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    one = commands.add_parser(
        "templates",
        help="write record templates, empty or filled in for many keys",
        description="Write the record templates of the scripts in three formats, for Keeper Commander (JSON, CSV) and "
        "for the web vault's import. Admin credentials stay placeholders: no file has a secret.",
        epilog="A CSV's first line names fields of the record, title or login; each further line makes a record.",
    )
    one.add_argument("--output", metavar="DIR", type=Path, required=True, help="directory to write to")
    one.add_argument(
        "--script",
        choices=[kind.stem for kind in KINDS],
        metavar="NAME",
        help=f"only this script's: {', '.join(kind.stem for kind in KINDS)}",
    )
    source = one.add_mutually_exclusive_group()
    source.add_argument("--csv", metavar="FILE", type=Path, help="a record for each line of this file")
    source.add_argument(
        "--from-seeq",
        metavar="ADMIN",
        help="a record for each application that Seeq lists and no shared record rotates yet; ADMIN is the UID of "
        "the Seeq admin's record",
    )
    one.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        type=_pair,
        action="append",
        default=[],
        help="enter this into every record; may be repeated",
    )
    one.set_defaults(work=_templates)


def _templates(options: argparse.Namespace, voice: Voice) -> int:
    common = dict(options.set)
    stems = [options.script] if options.script else [kind.stem for kind in KINDS]
    fills: list[dict[str, str]] = [common]
    if options.from_seeq:
        if options.script not in (None, _APPLICATION_KEYS):
            raise BadInput("--from-seeq makes records for rotate_seeq_application_key only")
        stems = [_APPLICATION_KEYS]
        fills = _fills_from_seeq(options.from_seeq, common)
        if not fills:
            voice.say("Every application has its record; nothing was written")
            return 0
    elif options.csv or common:
        if not options.script:
            raise BadInput("which script the records are for is not said", next_step="add --script NAME")
        fills = [{**common, **row} for row in templates.read_fills(options.csv)] if options.csv else fills
    for path in templates.write(options.output, stems, fills):
        voice.say(f"Wrote {path}")
    return 0


def _fills_from_seeq(admin: str, common: dict[str, str]) -> list[dict[str, str]]:
    deadline = Deadline(600)
    progress = Progress()
    shared = Shared.fetch(deadline, [admin])
    url, login = find_admin(Job(Record("", "", {}), None, [shared.flat(admin)]), common.get("seeq_server_url", ""))
    server = Server(url, login, Session(deadline), progress.say)
    listed = seeq_look.Look(server, deadline, progress.say).applications()
    progress.end()
    known = [shared.flat(uid).get("application_id") for uid, kind in shared.ours() if kind.stem == _APPLICATION_KEYS]
    return list(templates.from_applications(listed, known, common))


# -- doctor ---------------------------------------------------------------------------------------


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    one = commands.add_parser(
        "doctor",
        help="find what is wrong with this host",
        description="Look at the Gateway's host: Python and packages, the Secrets Manager configuration and its "
        "rights, proxy and CAs, whether each host answers, and whether the clocks agree.",
        epilog="Exit status: 0 all well or warnings only; 1 something is wrong. What a script sees when Keeper runs it "
        "may differ: 'diagnose' = 'True' in a record tells it through the Gateway.",
    )
    one.add_argument("hosts", metavar="HOST", nargs="*", help="also ask this host")
    one.set_defaults(work=_doctor)


def _doctor(options: argparse.Namespace, voice: Voice) -> int:
    sights = list(doctor.look_at_host())
    deadline = Deadline(60)
    hosts = set(options.hosts)
    with contextlib.suppress(PamScriptError):
        hosts.add(keeper.read_config()["hostname"])
        shared = Shared.fetch(deadline)
        hosts |= _hosts_of(shared)
        found = f"{len(shared.records)} records are shared, {len(list(shared.ours()))} of them rotations"
        sights.append(doctor.Sight("ok", "Secrets Manager", found))
    sights += doctor.look_at_hosts(hosts, deadline)
    for sight in sights:
        voice.say(str(sight))
    return 1 if any(sight.state == "wrong" for sight in sights) else 0


def _hosts_of(shared: Shared) -> set[str]:
    """Return every host that rotations of the shared records talk to, as far as the records can be read."""
    hosts: set[str] = set()
    for uid, kind in shared.ours():
        with contextlib.suppress(PamScriptError):
            job = shared.job(uid)
            settings = Settings(job.user, kind.fields)
            for hosts_of in (_hosts_of_issuer, _hosts_of_vaults, _hosts_of_aws, _hosts_of_apps):
                # What cannot be read of one system hides nothing of the others.
                with contextlib.suppress(PamScriptError):
                    hosts |= hosts_of(kind, job, settings)
    return hosts


def _hosts_of_issuer(kind: Kind, job: Job, settings: Settings) -> set[str]:
    if not kind.has_keys:
        return set()
    if kind.issuer == "entra":
        cloud = entra.find_cloud(job)
        return {cloud.graph, cloud.authority}
    url, _ = find_admin(job, settings.text("seeq_server_url"), its_own=kind.issuer == "seeq user")
    return {url.removeprefix("https://")}


def _hosts_of_vaults(kind: Kind, job: Job, settings: Settings) -> set[str]:
    places = kind.places(job, settings)
    return {place.url.removeprefix("https://") for place in places} | {place.authority for place in places}


def _hosts_of_aws(_kind: Kind, job: Job, settings: Settings) -> set[str]:
    _, region = aws_secrets_manager.place_of(job, settings)
    # https://docs.aws.amazon.com/general/latest/gr/asm.html
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return {f"secretsmanager.{region}.{suffix}"} if region else set()


def _hosts_of_apps(_kind: Kind, job: Job, settings: Settings) -> set[str]:
    cloud = entra.find_cloud(job)
    return {cloud.manager, cloud.authority} if settings.text("container_apps") else set()


# -- what the commands share ----------------------------------------------------------------------


def _add_sources(
    one: argparse.ArgumentParser,
    credential: str = "a record attached to the script (default: those that the record's own script settings name); "
    "may be repeated",
) -> None:
    one.add_argument("--credential", metavar="UID", action="append", default=[], help=credential)
    one.add_argument(
        "--configuration",
        metavar="UID",
        default="",
        help="the PAM configuration (default: the only one shared to the application)",
    )


def _fetch(options: argparse.Namespace) -> Shared:
    return Shared.fetch(Deadline(60), options.credential, options.configuration)


def _write(text: str, *, with_secrets: bool = False) -> None:
    """Write to standard output; a reader that goes away, such as `head`, is no failure."""
    try:
        sys.stdout.write(f"{text if with_secrets else Secret.redact(text)}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _days(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 3650:  # noqa: PLR2004 - ten years
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 3650")
    return int(text)


def _pair(text: str) -> tuple[str, str]:
    label, sign, value = text.partition("=")
    if not sign or not label or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=VALUE")
    return label, value
