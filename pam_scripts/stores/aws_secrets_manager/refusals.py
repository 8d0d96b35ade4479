"""What AWS Secrets Manager refuses, and what is said of it.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html, and the errors of each action there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from pam_scripts.core.refusals import Refusal

SYSTEM = "aws secrets manager"

_KEY_TO_USE = "grant kms:Decrypt and kms:GenerateDataKey on the secret's KMS key, in IAM and in the key's own policy"
_KEY_TO_MEND = "enable the KMS key, or cancel its deletion; or give the secret another key and put a new value by hand"

KEY_NOT_ALLOWED = Refusal(
    SYSTEM,
    "kms-key-not-allowed",
    "AccessDeniedException: Access to KMS is not allowed; KMSAccessDeniedException",
    "the secret's KMS key may not be used",
    _KEY_TO_USE,
)
KEY_DISABLED = Refusal(
    SYSTEM,
    "kms-key-disabled",
    "DecryptionFailure, EncryptionFailure, KMSDisabledException or KMSInvalidStateException",
    "the secret's KMS key is disabled, is to be deleted, or may not be used",
    f"{_KEY_TO_MEND}; or {_KEY_TO_USE}",
)
KEY_MISSING = Refusal(
    SYSTEM, "kms-key-missing", "KMSNotFoundException", "the secret's KMS key is not there", _KEY_TO_MEND
)
DENIED = Refusal(
    SYSTEM,
    "denied",
    "AccessDeniedException: ... with an explicit deny",
    "a policy denies it explicitly",
    "take the Deny of secretsmanager:DescribeSecret, GetSecretValue, PutSecretValue or UpdateSecretVersionStage out of "
    "the policy: of the identity, its permissions boundary, the secret, the VPC endpoint, or the organisation",
)
NOT_ALLOWED = Refusal(
    SYSTEM,
    "not-allowed",
    "AccessDeniedException",
    "the identity may not do this",
    "grant secretsmanager:DescribeSecret, GetSecretValue, PutSecretValue and UpdateSecretVersionStage on the secret, "
    "and the use of its KMS key",
)
TOO_MANY_VERSIONS = Refusal(
    SYSTEM,
    "too-many-versions",
    "LimitExceededException",
    "the secret has as many versions as it can",
    "wait until versions are a day old, when AWS drops them: it keeps 100, and those of the last 24 hours; look for "
    "who writes it so often",
)
MISSING = Refusal(
    SYSTEM,
    "missing",
    "ResourceNotFoundException",
    "there is no such secret, or none with a value",
    "make the secret first, or check 'aws_secret_id' and 'aws_region'",
)
KEY_ID_UNKNOWN = Refusal(
    SYSTEM,
    "unknown-access-key",
    "UnrecognizedClientException or InvalidClientTokenId",
    "the access key is not known",
    "check the AWS access key (attached record, PAM configuration, or the host's own): deleted or deactivated, without "
    "its own session token, or of an account where the region is not enabled",
)
KEY_ENDED = Refusal(
    SYSTEM,
    "access-key-ended",
    "ExpiredTokenException",
    "the temporary access key has ended",
    "enter a new key with its 'aws_session_token'; better one that lasts, or give the host a role",
)
CLOCK = Refusal(
    SYSTEM,
    "clock",
    "InvalidSignatureException: Signature expired, or not yet current",
    "the time of the request is wrong",
    "set the host's clock",
)
WRONG_SECRET = Refusal(
    SYSTEM,
    "wrong-secret-key",
    "InvalidSignatureException",
    "the secret access key is not that of the access key",
    "check 'aws_secret_access_key', and the host's clock",
)
NOT_SIGNED_UP = Refusal(
    SYSTEM,
    "not-signed-up",
    "OptInRequired or SubscriptionRequiredException",
    "the account is not signed up for the service there",
    "enable the region for the account, or enter another 'aws_region'",
)
REPLICA = Refusal(
    SYSTEM,
    "replica",
    "PrimaryRegion is another region; a write: Operation not permitted on a replica secret",
    "it is a replica, which cannot be written: its primary is in",
    "name the primary, by its region in 'aws_region' or its ARN in 'aws_secret_id'",
)
DELETED = Refusal(
    SYSTEM,
    "deleted",
    "DeletedDate is set; a write: it was marked for deletion",
    "it is scheduled for deletion",
    "restore it, or name another secret",
)
MANAGED = Refusal(
    SYSTEM,
    "managed",
    "OwningService is set; a write: it is managed by another service",
    "another service of AWS manages it",
    "name a secret of your own in 'aws_secret_id'",
)
ROTATED = Refusal(
    SYSTEM,
    "rotated",
    "RotationEnabled is true",
    "AWS itself rotates it",
    "turn its rotation off, or take it out of 'aws_secret_id'",
)
TOO_LONG = Refusal(
    SYSTEM,
    "too-long",
    "ValidationException: secretString ... length",
    "the value is too long",
    "a secret holds 64 KiB: shorten 'value_template', or what others keep in the secret",
)

REFUSALS = (
    KEY_NOT_ALLOWED,
    KEY_DISABLED,
    KEY_MISSING,
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

_DENIED = {"AccessDeniedException"}
_INVALID = {"InvalidRequestException", "InvalidParameterException"}
_SIGNATURE = {"InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired"}

# AWS's names for each, and a pattern of its message where those alone leave open what it is; the first one counts.
_ANSWERS: Sequence[tuple[Collection[str], str, Refusal]] = (
    (_DENIED, r"\bKMS\b|\bkms:", KEY_NOT_ALLOWED),
    (_DENIED, "explicit deny", DENIED),
    (_DENIED, "", NOT_ALLOWED),
    ({"KMSAccessDeniedException"}, "", KEY_NOT_ALLOWED),
    ({"DecryptionFailure", "EncryptionFailure", "KMSDisabledException", "KMSInvalidStateException"}, "", KEY_DISABLED),
    (_INVALID, r"\bKMS\b", KEY_DISABLED),
    ({"KMSNotFoundException"}, "", KEY_MISSING),
    ({"LimitExceededException"}, "", TOO_MANY_VERSIONS),
    ({"ResourceNotFoundException"}, "", MISSING),
    ({"UnrecognizedClientException", "InvalidClientTokenId"}, "", KEY_ID_UNKNOWN),
    ({"ExpiredTokenException", "ExpiredToken"}, "", KEY_ENDED),
    (_SIGNATURE, "expired|not yet current", CLOCK),
    (_SIGNATURE, "", WRONG_SECRET),
    ({"OptInRequired", "SubscriptionRequiredException"}, "", NOT_SIGNED_UP),
    (_INVALID, r"\breplica\b", REPLICA),
    (_INVALID, "marked for deletion|scheduled for deletion", DELETED),
    (_INVALID, "managed by", MANAGED),
    ({"ValidationException", "InvalidParameterException"}, "secretString.*length|length.*secretString", TOO_LONG),
)


def refusal_of(code: str, message: str) -> Refusal | None:
    """Return what an answer of AWS is, by its code and message; None where it is none of these."""
    return next(
        (one for codes, saying, one in _ANSWERS if code in codes and re.search(saying, message, re.IGNORECASE)), None
    )
