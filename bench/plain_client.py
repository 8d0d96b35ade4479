"""The plain way: rotate a Seeq application's key with the official SDKs, one step after the other.

What a competent hour's work gives: each SDK used as its documentation shows, one session for Seeq, nothing
slowed down. It does not look before it leaps, wait, repeat, read back, put back, or keep two runs apart.

https://docs.keeper.io/en/keeperpam/secrets-manager/developer-sdk-library/python-sdk
https://learn.microsoft.com/azure/key-vault/secrets/quick-create-python
https://support.seeq.com/kb/latest/cloud/applications

Standard input is one JSON object, see `main`; Keeper's configuration is in KSM_CONFIG.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timedelta, timezone

import requests
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient
from keeper_secrets_manager_core import SecretsManager
from keeper_secrets_manager_core.storage import InMemoryKeyValueStorage

MEDIA_TYPE = "application/vnd.seeq.v1+json"
TIMEOUT = 30


def log_in(api: str, username: str, password: str) -> requests.Session:
    """Return a session of Seeq's API that is logged in."""
    session = requests.Session()
    session.headers.update({"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE})
    body = {"username": username, "password": password, "authProviderClass": "Auth", "authProviderId": "Seeq"}
    response = session.post(f"{api}/auth/login", json=body, timeout=TIMEOUT)
    response.raise_for_status()
    session.headers["x-sq-auth"] = response.headers["x-sq-auth"]
    return session


def main(given: dict[str, str]) -> None:
    """Rotate once; raises whatever goes wrong.

    given: server (https://host), login, password, application; record (UID); vault (URL), tenant, client,
    secret, prefix.
    """
    api, application = f"{given['server']}/api", given["application"]
    seeq = log_in(api, given["login"], given["password"])
    answer = seeq.get(f"{api}/applications/{application}", timeout=TIMEOUT)
    answer.raise_for_status()
    old_keys = [key["keyId"] for key in answer.json()["accessKeys"]]

    expires = datetime.now(timezone.utc) + timedelta(days=90)
    body = {"label": "rotated", "expiry": expires.isoformat()}
    answer = seeq.post(f"{api}/applications/{application}/generate-access-key", json=body, timeout=TIMEOUT)
    answer.raise_for_status()
    key_id, password = answer.json()["keyId"], answer.json()["password"]
    log_in(api, key_id, password)

    keeper = SecretsManager(config=InMemoryKeyValueStorage(os.environ["KSM_CONFIG"]))
    record = keeper.get_secrets([given["record"]])[0]
    record.set_custom_field_value("access_key_id", key_id)
    record.set_custom_field_value("access_key_password", password)
    keeper.save(record)

    credential = ClientSecretCredential(given["tenant"], given["client"], given["secret"])
    vault = SecretClient(given["vault"], credential)
    vault.set_secret(f"{given['prefix']}-{application}-key-id", key_id, expires_on=expires)
    vault.set_secret(f"{given['prefix']}-{application}-key-password", password, expires_on=expires)

    for old in old_keys:
        seeq.delete(f"{api}/accesskeys/{old}", timeout=TIMEOUT).raise_for_status()


if __name__ == "__main__":
    main(json.load(sys.stdin))
