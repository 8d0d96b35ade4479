"""What AWS Secrets Manager refuses, and what is said of it.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html, and the errors of each action there.
"""

from __future__ import annotations

from pam_scripts.core.refusals import Refusal, find_refusal
from pam_scripts.logins.aws import CLOCK, KEY_ENDED, WRONG_SECRET

SYSTEM = "aws secrets manager"

_KEY_TO_USE = "grant kms:Decrypt and kms:GenerateDataKey on the secret's KMS key, in IAM and in the key's own policy"
_KEY_TO_MEND = "enable the KMS key, or cancel its deletion; or give the secret another key and put a new value by hand"

_INVALID = ("InvalidRequestException", "InvalidParameterException")

KEY_NOT_ALLOWED = Refusal(
    ("AccessDeniedException", "KMSAccessDeniedException"),
    "the secret's KMS key may not be used",
    _KEY_TO_USE,
    message_pattern=r"\bKMS",
)
KEY_DISABLED = Refusal(
    (
        "DecryptionFailure",
        "EncryptionFailure",
        "KMSDisabledException",
        "KMSInvalidStateException",
        "InvalidRequestException",
        "InvalidParameterException",
    ),
    "the secret's KMS key is disabled, is to be deleted, or may not be used",
    f"{_KEY_TO_MEND}; or {_KEY_TO_USE}",
    message_pattern=r"\bKMS|^(De|En)cryptionFailure",
)
KEY_MISSING = Refusal(
    "KMSNotFoundException",
    "the secret's KMS key is not there",
    _KEY_TO_MEND,
)
DENIED = Refusal(
    "AccessDeniedException",
    "a policy denies it explicitly",
    "take the Deny of secretsmanager:DescribeSecret, GetSecretValue, PutSecretValue or UpdateSecretVersionStage out of "
    "the policy: of the identity, its permissions boundary, the secret, the VPC endpoint, or the organisation",
    message_pattern="explicit deny",
    answer="with an explicit deny",
)
NOT_ALLOWED = Refusal(
    "AccessDeniedException",
    "the identity may not do this",
    "grant secretsmanager:DescribeSecret, GetSecretValue, PutSecretValue and UpdateSecretVersionStage on the secret, "
    "and the use of its KMS key",
)
TOO_MANY_VERSIONS = Refusal(
    "LimitExceededException",
    "the secret has as many versions as it can",
    "wait until versions are a day old, when AWS drops them: it keeps 100, and those of the last 24 hours; look for "
    "who writes it so often",
)
MISSING = Refusal(
    "ResourceNotFoundException",
    "there is no such secret, or none with a value",
    "make the secret first, or check 'aws_secret_id' and 'aws_region'",
)
KEY_ID_UNKNOWN = Refusal(
    ("UnrecognizedClientException", "InvalidClientTokenId"),
    "the access key is not known",
    "check the AWS access key (attached record, PAM Configuration, or the host's own): deleted or deactivated, without "
    "its own session token, or of an account where the region is not enabled",
)
NOT_SIGNED_UP = Refusal(
    ("OptInRequired", "SubscriptionRequiredException"),
    "the account is not signed up for the service in that region",
    "enable the region for the account, or enter another 'aws_region'",
)
REPLICA = Refusal(
    _INVALID,
    "it is a replica, which cannot be written: its primary is in",
    "name the primary, by its region in 'aws_region' or its ARN in 'aws_secret_id'",
    message_pattern=r"\breplica\b",
    answer="`PrimaryRegion` is another region; a write: not permitted on a replica",
)
DELETED = Refusal(
    _INVALID,
    "it is scheduled for deletion",
    "restore it, or name another secret",
    message_pattern="(marked|scheduled) for deletion",
    answer="`DeletedDate` is set; a write: it was marked for deletion",
)
MANAGED = Refusal(
    _INVALID,
    "another service of AWS manages it",
    "name a secret of your own in 'aws_secret_id'",
    message_pattern="managed by",
    answer="`OwningService` is set; a write: it is managed by another service",
)
ROTATED = Refusal(
    "rotated",
    "AWS itself rotates it",
    "turn its rotation off, or take it out of 'aws_secret_id'",
    answer="`RotationEnabled` is true",
)
TOO_LONG = Refusal(
    ("ValidationException", "InvalidParameterException"),
    "the value is too long",
    "a secret holds 64 KiB: shorten 'value_template', or what others keep in the secret",
    message_pattern="secretString.*length|length.*secretString",
    answer="its length",
)

# The first that an answer can be is the one that it is.
REFUSALS = (
    KEY_NOT_ALLOWED,
    KEY_MISSING,
    KEY_DISABLED,
    DENIED,
    NOT_ALLOWED,
    TOO_MANY_VERSIONS,
    MISSING,
    KEY_ID_UNKNOWN,
    KEY_ENDED,
    CLOCK,
    WRONG_SECRET,
    NOT_SIGNED_UP,
    REPLICA,
    DELETED,
    MANAGED,
    ROTATED,
    TOO_LONG,
)


def refusal_of(code: str, message: str) -> Refusal | None:
    """Return what an answer of AWS is, by its code and message; None where it is none of these."""
    return find_refusal(code, REFUSALS, f"{code}: {message}")
