"""Going direct: `python direct.py PORT SCRIPT [ARGUMENTS]` runs a script without a proxy.

A client meets a lost connection differently with a proxy in between and without one. Without one,
the services' real host names must lead to loopback: here every name looked up for port 443 does.
Standard library only, so that any interpreter can run it.
"""

from __future__ import annotations

import runpy
import socket
import sys
from pathlib import Path
from typing import Any

HTTPS_PORT = 443


def lead_to(port: int) -> None:
    """Have every host name, looked up for port 443 in this process, resolve to 127.0.0.1 and `port`."""
    resolve = socket.getaddrinfo

    def on_loopback(host: Any, service: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on as it is
        if str(service) in (str(HTTPS_PORT), "https"):
            host, service = "127.0.0.1", port
        return resolve(host, service, *arguments, **options)

    socket.getaddrinfo = on_loopback  # type: ignore[assignment]  # the same call, whatever it is given


if __name__ == "__main__":
    _, tls_port, *sys.argv[:] = sys.argv
    # What Python itself would have set, had it been given the script.
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    lead_to(int(tls_port))
    runpy.run_path(sys.argv[0], run_name="__main__")
