"""Data Lab Functions: the endpoints of notebooks, served at Seeq's own host to whoever has a session there.

https://support.seeq.com/kb/latest/cloud/understanding-context-and-api-endpoint-notebook-ce
https://support.seeq.com/kb/latest/cloud/reserved-variables

A notebook's context cells run once in its kernel, a process of its own with the project as home; a cell that begins
with a comment such as `# GET /hello` runs for each request to that endpoint, with `REQUEST`, and the value of its last
expression is the answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

# Seeq's library trusts certifi's list alone, into which Data Lab's own authority is put.
_KERNEL = """
import ast, json, os, sys, traceback
import certifi
certifi.where = lambda: os.environ["REQUESTS_CA_BUNDLE"]
answers, sys.stdout = sys.stdout, sys.stderr
cells = ["".join(cell["source"]) for cell in json.load(open(sys.argv[1]))["cells"] if cell["cell_type"] == "code"]
endpoints = {cell.partition(chr(10))[0]: cell for cell in cells if cell.startswith(("# GET /", "# POST /"))}
space = {"__name__": "__main__"}
is_set_up = False
for line in sys.stdin:
    space["REQUEST"] = json.loads(line)
    info = space["REQUEST"]["info"]
    cell = endpoints.get(f"# {info['method']} /{info['endpoint']}")
    status, body = 404, "no such endpoint"
    if cell is not None:
        try:
            if not is_set_up:
                for context in cells:
                    if context not in endpoints.values():
                        exec(context, space)
                is_set_up = True
            tree = ast.parse(cell)
            last = ast.Expression(tree.body.pop().value)
            exec(compile(tree, "cell", "exec"), space)
            status, body = 200, eval(compile(last, "cell", "eval"), space)
        except Exception as error:
            traceback.print_exc()
            status, body = 500, f"{type(error).__name__}: {error}"
    print(json.dumps([status, body]), file=answers, flush=True)
"""


class DataLab:
    """One project with its notebooks, in front of the Seeq whose sessions let people in.

    home: the project's directory. environment: what a program in it finds its way by.

    Not served: who may read the project (everybody may), kernels for each user, POST bodies.
    """

    def __init__(self, seeq: App, project_id: str, home: Path, environment: Mapping[str, str]) -> None:
        self.seeq = seeq
        self.project_id = project_id
        self.home = home
        self.environment = {"HOME": str(home), "USERPROFILE": str(home), "PYTHONPATH": str(home), **environment}
        self._kernels: dict[str, subprocess.Popen[str]] = {}

    def stop(self) -> str:
        """End the kernels; return all that they wrote to stderr."""
        return "".join(kernel.communicate(timeout=60)[1] for kernel in self._kernels.values())

    async def app(self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]) -> None:
        """Answer as Data Lab under /data-lab, as Seeq anywhere else."""
        if not scope["path"].startswith("/data-lab/"):
            await self.seeq(scope, receive, send)
            return
        request = Request(scope, receive)
        if await self._status_of_session(scope, receive) != 200:
            answer: Response = PlainTextResponse("log in first", 401)
        else:
            answer = await run_in_threadpool(self._serve, request)
        await answer(scope, receive, send)

    async def _status_of_session(self, scope: Scope, receive: Callable[[], Awaitable[Any]]) -> int:
        """Ask Seeq whether the session of a request is one."""
        told: list[int] = []

        async def keep(message: Any) -> None:  # noqa: ANN401 - ASGI's own
            if message["type"] == "http.response.start":
                told.append(message["status"])

        me = {**scope, "method": "GET", "path": "/api/users/me", "raw_path": b"/api/users/me", "query_string": b""}
        await self.seeq(me, receive, keep)
        return told[0]

    def _serve(self, request: Request) -> Response:
        parts = request.url.path.split("/", 7)
        if len(parts) < 8 or [parts[2], parts[3], parts[4], parts[6]] != [
            self.project_id,
            "functions",
            "notebooks",
            "endpoints",
        ]:
            return PlainTextResponse("not found", 404)
        file = self.home / f"{parts[5]}.ipynb"
        if not file.is_file():
            return PlainTextResponse("no such notebook", 404)
        info = {"notebook": parts[5], "method": request.method, "endpoint": parts[7]}
        status, body = self._ask(file, {"info": info, "body": "", "args": dict(request.query_params), "headers": {}})
        return PlainTextResponse(body, status)

    def _ask(self, file: Path, request: Mapping[str, Any]) -> tuple[int, str]:
        kernel = self._kernels.get(file.stem)
        if kernel is None:
            kernel = self._kernels[file.stem] = subprocess.Popen(  # noqa: S603 - this interpreter, and a notebook that the test wrote
                [sys.executable, "-c", _KERNEL, str(file)],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        if not kernel.stdin or not kernel.stdout:
            raise TypeError("the kernel was started without pipes")
        kernel.stdin.write(json.dumps(request) + "\n")
        kernel.stdin.flush()
        status, body = json.loads(kernel.stdout.readline())
        return status, body
