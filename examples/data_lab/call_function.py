"""Call an endpoint of a Data Lab Function from outside, with the application's rotated key.

    python call_function.py https://seeq.example.com PROJECT_ID S3DataUpload worksheet/items workbook_id=... ...

The key is read by `seeq_credential` from where its mirror is kept, which a hidden file in the caller's home directory
names; `requests` does the rest. No key and no session is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from urllib.parse import quote

import requests
from seeq_credential import Credential, CredentialError, SeeqKey

_TIMEOUT = 60  # seconds that an answer may take
_UNAUTHORIZED = 401
_JSON = "application/vnd.seeq.v1+json"


class Caller:
    """Somebody outside Data Lab. url: of Seeq."""

    def __init__(self, url: str, key: SeeqKey) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self._token = ""

    def call(self, project_id: str, notebook: str, endpoint: str, args: Mapping[str, str]) -> str:
        """Return what an endpoint answers to GET; log in first, and again where the session is over.

        Raises CredentialError where Seeq refuses the stored key, requests.HTTPError for any other refusal.
        """
        where = f"{self.url}/data-lab/{quote(project_id)}/functions/notebooks/{quote(notebook)}/endpoints/{endpoint}"
        for is_new in (False, True):
            if is_new or not self._token:
                self._token = self._log_in()
            answer = requests.get(where, params=dict(args), headers={"x-sq-auth": self._token}, timeout=_TIMEOUT)
            if answer.status_code != _UNAUTHORIZED:
                break
        answer.raise_for_status()
        return answer.text

    def _log_in(self) -> str:
        """Return a session's token."""
        credential: Credential = self.key.source.read()
        body = {
            "username": credential.key_id,
            "password": credential.password,
            "authProviderClass": "Auth",
            "authProviderId": "Seeq",
        }
        headers = {"content-type": _JSON, "accept": _JSON}
        answer = requests.post(f"{self.url}/api/auth/login", json=body, headers=headers, timeout=_TIMEOUT)
        if answer.status_code == _UNAUTHORIZED:
            raise CredentialError(f"Seeq at {self.url} refuses the access key {credential.key_id}, which is stored")
        answer.raise_for_status()
        return answer.headers["x-sq-auth"]


def main(url: str, project_id: str, notebook: str, endpoint: str, *pairs: str) -> None:
    """Print what the endpoint answers."""
    args = dict(pair.split("=", 1) for pair in pairs)
    print(Caller(url, SeeqKey.from_file()).call(project_id, notebook, endpoint, args))  # noqa: T201 - its output


if __name__ == "__main__":
    main(*sys.argv[1:])
