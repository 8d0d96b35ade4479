"""A timer in Azure Functions that rotates what is due; the run is a process of its own, and its lines go to the log.

A function that raises is one that failed: an alert on failed invocations tells of it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import azure.functions as func

# Each rotation has a deadline of its own, two minutes by default; host.json ends the function after ten.
ARGUMENTS = ("rotate", "--due", "14", "--yes")

app = func.FunctionApp()
log = logging.getLogger(__name__)


# Seconds, minutes, hours, days, months, days of the week, in UTC: not at the full hour, when everybody's timers start.
@app.timer_trigger(schedule="0 17 3 * * 1", arg_name="timer", run_on_startup=False, use_monitor=True)
def rotate_what_is_due(timer: func.TimerRequest) -> None:
    """Rotate what ends within 14 days; raise RuntimeError where anything failed."""
    if timer.past_due:
        log.warning("This run is late: the schedule was missed.")
    # The worker has its packages in places of its own, which its child does not know.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "pam_scripts", *ARGUMENTS]
    with subprocess.Popen(  # noqa: S603 - our own module, with arguments that stand here
        command, env=environment, text=True, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as run:
        for line in run.stdout or ():
            log.info("%s", line.rstrip())
    if run.returncode:
        raise RuntimeError(f"pam-scripts ended with status {run.returncode}; its lines above say of which records")
