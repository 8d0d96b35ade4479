"""AWS: who the script acts as there, in which region. aws_client.py makes the calls.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import TEXT, Field, Fields, Record, Text
from pam_scripts.core.refusals import Refusal
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job

# Of the partitions whose domains `host` knows; it is a label of a host's name.
REGION_NAME = r"(?!us-iso|eu-iso)(?=.{1,63}$)[a-z]{2}(?:-[a-z]+)+-[0-9]"
REGION_TEXT = Text(REGION_NAME, "a region such as eu-central-1")

ACCESS_KEY_ID = Field(
    "aws_access_key_id",
    "access key id of the AWS identity that the script acts as",
    TEXT,
    prompt="access key id of the AWS identity",
)
SECRET_ACCESS_KEY = Field(
    "aws_secret_access_key",
    "that identity's secret access key",
    TEXT,
    prompt="secret access key of that identity",
    type="secret",
)
SESSION_TOKEN = Field(
    "aws_session_token",
    "the session token of a temporary access key, which ends within 36 hours; empty: the key is one that lasts",
    TEXT,
    prompt="session token, where the access key is a temporary one; leave this for none",
    type="secret",
)

# What Keeper's PAM AWS Configuration has of its own; the secret under the name, too, that AWS has for it.
CONFIGURED_KEY_ID = replace(ACCESS_KEY_ID, label="access_key_id", type="secret")
CONFIGURED_SECRETS = tuple(
    replace(SECRET_ACCESS_KEY, label=label) for label in ("access_secret_key", "secret_access_key")
)

KEY_FIELDS: Fields = (ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN)
CONFIGURED_KEY_FIELDS: Fields = (CONFIGURED_KEY_ID, *CONFIGURED_SECRETS, SESSION_TOKEN)

# What every service of AWS answers to an access key that it does not take.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
_SIGNATURE = ("InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired")
KEY_ENDED = Refusal(
    ("ExpiredToken", "ExpiredTokenException"),
    "the temporary access key has ended",
    "enter a new key with its 'aws_session_token'; better one that lasts, or give the host a role",
)
CLOCK = Refusal(
    _SIGNATURE,
    "the time of the request is wrong",
    "set the host's clock",
    message_pattern="expired|not yet current",
    answer="the signature has expired, or is not yet current",
)
WRONG_SECRET = Refusal(
    _SIGNATURE,
    "the secret access key does not belong to the access key id",
    "check 'aws_secret_access_key', and the host's clock",
)


@dataclass(frozen=True, repr=False)
class Identity:
    """An access key, and the record that it is in; without a key it is the host's own. token: of a temporary one."""

    key_id: str = ""
    secret: Secret = field(default_factory=lambda: Secret(""))
    token: Secret = field(default_factory=lambda: Secret(""))
    record: Record | None = field(default=None, compare=False)


def host(service: str, region: str) -> str:
    """Return the host of a service in a region.

    https://docs.aws.amazon.com/general/latest/gr/rande.html
    """
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{service}.{region}.{suffix}"


def find_identity(job: Job) -> Identity:
    """Return the access key that a job comes with; without one it is the host's own identity."""
    found = [(each, ACCESS_KEY_ID, SECRET_ACCESS_KEY) for each in job.attached]
    if job.configuration:
        found += [(job.configuration, CONFIGURED_KEY_ID, secret) for secret in CONFIGURED_SECRETS]
    for record, key_field, secret_field in found:
        key_id, secret, token = (each.read(record) for each in (key_field, secret_field, SESSION_TOKEN))
        if key_id and secret:
            _check_token(record, key_field.label, is_temporary=key_id.startswith("ASIA"), has_token=bool(token))
            return Identity(key_id, Secret(secret), Secret(token), record)
    return Identity()


def _check_token(record: Record, label: str, *, is_temporary: bool, has_token: bool) -> None:
    """Refuse a temporary key without its token, and a lasting one with a token: AWS would not know the key.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-prefixes
    """
    token = SESSION_TOKEN.label
    if is_temporary and not has_token:
        raise BadInput(
            f"{record.shown}: field '{token}' is empty, and '{label}' is a temporary access key",
            next_step="enter its session token there, or better a key that lasts: a temporary one ends within 36 hours",
        )
    if has_token and record.get(label).startswith("AKIA"):
        raise BadInput(
            f"{record.shown}: field '{token}' has a session token, and '{label}' is an access key that has none",
            next_step=f"empty '{token}', or enter the temporary access key that it belongs to",
        )
