"""Health pages: addresses that say whether whoever reads the credential is well. Nothing is reloaded by them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from pam_scripts.core import http
from pam_scripts.core.fields import Field, Fields, PageAddresses
from pam_scripts.core.limits import NAMES, Limit
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.specs import ConsumerSpec
from pam_scripts.rotation.roles import Consumer
from pam_scripts.rotation.shape import Shape

SYSTEM = "health"
LABEL = "health_urls"

URLS = Field(
    LABEL,
    "addresses to poll until they answer 200, several with commas",
    PageAddresses(),
    prompt="https://HOST/PATH to poll until it answers 200, several with commas; leave this for none",
)

# What pages say of themselves where they are not healthy; no other word of theirs is repeated.
_KNOWN = {"unhealthy", "degraded", "starting", "stopping", "down", "unavailable", "error", "fail", "failed"}

ALLOW_HEALTH_HOSTS = Field(
    "allow_health_hosts",
    "hosts that may be polled, with commas, * for any characters; empty: any",
    NAMES,
    prompt="hosts that may be polled, with commas; leave this for any",
)

FIELDS: Fields = (URLS,)
# Nobody logs in to such a page: no record but the PAM Configuration bounds which they are.
ADMIN_FIELDS: Fields = ()
CONFIGURATION_FIELDS: Fields = (ALLOW_HEALTH_HOSTS,)


def read(job: Job, _shape: Shape) -> Sequence[ConsumerSpec]:
    """Return the health pages that a record names; raise BadInput for one that is no address."""
    limit = Limit.of(ALLOW_HEALTH_HOSTS, job.owners_of(""))
    for url in URLS.read(job.user):
        parts = urlsplit(url)
        limit.check(f"{job.user.shown}: health page {url}", parts.netloc, parts.hostname or "")
    # They are asked much later than all others: nobody connects to them ahead.
    return [ConsumerSpec(partial(HealthPage, url), limits=(limit,)) for url in URLS.read(job.user)]


class HealthPage(Consumer):
    """An address that says whether a consumer is well. Nothing is reloaded by it."""

    def __init__(self, url: str, session: http.Session) -> None:
        self._url = url
        self._session = session

    @property
    def name(self) -> str:
        """The address."""
        return self._url

    @property
    def reloads(self) -> bool:
        """Nothing is: it is only asked."""
        return False

    def examine(self) -> None:
        """Nothing to look for: a consumer that is ill now may be so for want of the new credential."""

    def reload(self) -> None:
        """Nothing to do."""

    def trouble(self) -> str:
        """GET it: well at 200, and at `Healthy` where it is JSON that has a status."""
        action = f"GET {self._url}"
        try:
            answer = self._session.get(self._url, headers={"Accept": "application/json"})
        except OSError as error:
            return http.no_answer(SYSTEM, action, error).cause
        if answer.status_code != HTTPStatus.OK:
            return f"it answers {http.phrase(answer.status_code)}"
        status = _status(answer).strip()
        if status.lower() in ("", "healthy"):
            return ""
        known = status.lower() in _KNOWN
        return f"its status is '{status}'" if known else "its status is a word that is not repeated here"


def _status(answer: Any) -> str:  # noqa: ANN401 - a requests.Response
    try:
        body = answer.json()
    except ValueError:
        return ""
    if isinstance(body, dict):
        body = body.get("status") or body.get("Status")
    return body if isinstance(body, str) else ""
