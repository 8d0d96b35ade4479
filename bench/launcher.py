"""Stand in for an interpreter: start it, and write down what its process cost.

`python -IS launcher.py REPORT COMMAND...` writes REPORT.pid as soon as the command runs, and REPORT (JSON)
when it has ended. It is a process of its own and imports next to nothing, because the peak memory that a
system keeps of a process begins with that of the process it was forked from.
"""

from __future__ import annotations

import json
import os
import sys
import time

_TO_MB = 2**20 if sys.platform == "darwin" else 2**10


def main(report: str, command: list[str]) -> int:
    """Run the command on this process's own standard streams; return its exit status."""
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.execv(command[0], command)  # noqa: S606 - the command is the benchmark's own
    with open(f"{report}.pid", "w") as file:  # noqa: PTH123 - pathlib would be most of this process
        file.write(str(pid))
    _, status, used = os.wait4(pid, 0)
    figures = {
        "started": started,
        "ended": time.monotonic(),
        "cpu": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / _TO_MB,
    }
    with open(report, "w") as file:  # noqa: PTH123 - the same
        json.dump(figures, file)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
