"""One run of a script, as the Keeper Gateway starts it: its deadline, its signals, its exit status."""

from __future__ import annotations

import secrets
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import pam_scripts
from pam_scripts.core import host as system
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import NotCertain, PamScriptError, defect
from pam_scripts.core.times import utc_now
from pam_scripts.gateway import request
from pam_scripts.gateway.console import Console, prepare_output
from pam_scripts.gateway.payload import Job, read_job
from pam_scripts.gateway.standard_input import read_input
from pam_scripts.rotation import labels
from pam_scripts.rotation.ops_log import Entry
from pam_scripts.rotation.roles import Run

NOTHING_CHANGED = "nothing changed"
"""The state that a run leaves which has touched nothing, unless its script knows better."""

# Seconds past the deadline after which a run that still hangs in a call is ended from outside of it.
_GRACE = 10.0

# What a run may take as long as the record, and with it its own deadline, is not read yet.
_SECONDS_UNTIL_READ = 120.0

# What lines may take at the end of a run until they are read.
_SECONDS_FOR_LINES = 3.0


class Script(Protocol):
    """What a run asks of a script."""

    @property
    def stem(self) -> str:
        """Its name: that of its module."""

    @property
    def title(self) -> str:
        """What it does, in one line."""

    def seconds(self, job: Job) -> int:
        """Return what the run may take."""

    def untouched(self, job: Job) -> str:
        """Say what state a run leaves that has touched nothing: `nothing changed`."""

    def remarks(self, job: Job) -> Sequence[str]:
        """Return the warnings about a job's records, whether or not they can be used."""

    def prepare(self, job: Job) -> Callable[[Run], None]:
        """Read a job's records, asking nobody, and return what does the job; raise BadInput for what is wrong first.

        What is returned raises a PamScriptError where the job is not done.
        """


# Gets the records of a job through Secrets Manager, by the UIDs of the record, of attached records and of the
# PAM Configuration.
Fetch = Callable[[Run, str, Sequence[str], str], Job]


def main(script: Script, fetch: Fetch) -> int:
    """Run a script as the Gateway does (a payload on standard input), or as an engineer (`--check`).

    Returns the exit status: 0 only when all is done and confirmed.
    """
    prepare_output()
    arguments = None
    if len(sys.argv) > 1:
        from pam_scripts.gateway import command_line  # noqa: PLC0415 - the Gateway gives no arguments

        arguments = command_line.read(script.title)

    def get_job(run: Run) -> Job:
        if arguments and arguments.check:
            return fetch(run, arguments.record, arguments.credential, arguments.configuration)
        return read_job(read_input(run.deadline))

    console = Console()
    status = carry_out(
        script,
        get_job,
        console,
        record=f"record {arguments.record}" if arguments and arguments.record else "",
        check=bool(arguments and arguments.check),
        json_line=bool(arguments and arguments.json_lines),
        started=pam_scripts.STARTED,
    )
    console.finish(_SECONDS_FOR_LINES)
    return status


def carry_out(  # noqa: PLR0913 - each is one fact of a run
    script: Script,
    get_job: Callable[[Run], Job],
    console: Console,
    *,
    check: bool,
    record: str = "",
    json_line: bool = False,
    started: tuple[float, float] | None = None,
    mark: str = "",
) -> int:
    """Do one job, and say how it ended; return the exit status.

    record: as messages name the job's record before it is read, empty where that is not known. check: look only,
    whatever the record says. json_line: sum the run up in JSON at the end; a record can ask for that too. started:
    when the process began that is there for this run alone, and may be ended from outside where a call hangs; None
    where there is more to do in it. mark: the last eight digits of the rotation's id, drawn at random where empty.
    """
    host = socket.gethostname()
    run = _run(script.stem, host, console, started, mark)
    untouched = NOTHING_CHANGED

    def end() -> None:
        error = NotCertain(
            f"a call still hangs {_GRACE:g} s after the run's time of {run.deadline.seconds:g} s",
            state=f"what rotation {run.rotation_id} has changed so far was not put back; every store still holds a key "
            "that works",
            next_step="run the rotation again: it starts from whatever it finds",
        )
        console.end(error, record)
        run.entry.error, run.entry.exit_status = str(error), error.status
        if json_line:
            console.say_json(run.entry.line())
        console.finish(_SECONDS_FOR_LINES)
        system.end_process(error.status)

    timer = _end_in_time(run, end if started else None)
    try:
        try:
            job = get_job(run)
            record = job.user.shown
        finally:
            # The first line of every run, also of one that does not come so far.
            run.say(
                f"{script.stem} {pam_scripts.__build__}: {record or 'no record yet'}, rotation {run.rotation_id}, "
                f"host {host}"
            )
        run.entry.record, run.entry.record_title = job.user.uid, job.user.title
        untouched = script.untouched(job)
        if request.DIAGNOSE.read(job.user) and not check:
            from pam_scripts.gateway import diagnosis  # noqa: PLC0415 - no rotation needs it

            diagnosis.tell(console.say)
            _refuse_to_call_it_done(untouched, request.DIAGNOSE.label)
            return 0
        json_line = json_line or job.user.get(request.LOG_FORMAT.label).lower() == "json"
        for remark in script.remarks(job):
            run.warn(remark)
        work = script.prepare(job)
        run.entry.environment = request.ENVIRONMENT.read(job.user)
        run.entry.reason = request.ROTATION_REASON.read(job.user)
        run.deadline = Deadline(script.seconds(job), started)
        run.dry_run = run.entry.dry_run = check or request.DRY_RUN.read(job.user)
        timer.cancel()
        timer = _end_in_time(run, end if started else None)
        work(run)
        if run.dry_run:
            _refuse_to_call_it_done(untouched, request.DRY_RUN.label)
    except Exception as failure:  # noqa: BLE001 - the last net: no traceback ever, it could carry values
        error = failure if isinstance(failure, PamScriptError) else NotCertain(defect(failure))
        # Whoever changes something says what state that left; where nobody did, nothing was.
        if failure is error:
            error.state = error.state or untouched
        error.state = error.state or "what was changed so far is not known"
        console.end(error, record)
        run.entry.error, run.entry.exit_status = str(error), error.status
    finally:
        timer.cancel()
    if json_line:
        console.say_json(run.entry.line())
    return run.entry.exit_status


def _refuse_to_call_it_done(untouched: str, label: str) -> None:
    """Raise NotCertain where a run that only looked leaves stores without the value that is in use already."""
    if untouched != NOTHING_CHANGED:
        raise NotCertain(f"'{label}' is set", state=untouched, next_step=f"set '{label}' to 'False', then rotate again")


def _run(name: str, host: str, console: Console, started: tuple[float, float] | None, mark: str) -> Run:
    now = utc_now()
    rotation_id = labels.new_id(now, mark or secrets.token_hex(4))
    entry = Entry(script=name, rotated_by=f"pam-scripts {pam_scripts.__build__} on {host}")
    return Run(rotation_id, now, Deadline(_SECONDS_UNTIL_READ, started), console.say, console.warn, entry=entry)


def _end_in_time(run: Run, end: Callable[[], None] | None) -> threading.Timer:
    """See to it that the run ends: in order when it is told to stop, and by `end` where a call hangs.

    Returns the timer for that, to be cancelled once the run is over.
    """
    if threading.current_thread() is threading.main_thread():
        system.HERE.on_stop(lambda name: run.deadline.stop(f"stopped by {name}"))
    timer = threading.Timer(max(0.0, run.deadline.seconds + _GRACE - run.deadline.elapsed), end or (lambda: None))
    timer.daemon = True
    if end:
        timer.start()
    return timer
