"""What AWS IAM and STS refuse, and what is said of it.

https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html, and the errors of each action there.
"""

from __future__ import annotations

from pam_scripts.core.refusals import Refusal, find_refusal
from pam_scripts.logins.aws import CLOCK, KEY_ENDED, WRONG_SECRET

SYSTEM = "aws iam"

_ON_KEYS = ("ListAccessKeys", "GetAccessKeyLastUsed", "CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey")
ACTIONS = tuple(f"iam:{action}" for action in _ON_KEYS)
"""What a rotation does with the user's keys, as IAM's policies name it; beside these it needs `iam:GetUser`."""

_ACTIONS = f"iam:GetUser, {', '.join(_ON_KEYS[:-1])} and {_ON_KEYS[-1]}"

DENIED = Refusal(
    "AccessDenied",
    "a policy denies it explicitly",
    f"take the Deny of {_ACTIONS} out of the policy: of the identity, its permissions boundary, or the organisation",
    message_pattern="explicit deny",
    answer="with an explicit deny",
)
NOT_ALLOWED = Refusal("AccessDenied", "the identity may not do this", f"grant {_ACTIONS} on the user")
NO_USER = Refusal(
    "NoSuchEntity", "there is no such user, or no such key", "check 'aws_user_name', and the account of the login"
)
NO_ROOM = Refusal(
    "LimitExceeded",
    "the user has two access keys, which is the most that AWS lets it have",
    "delete the one that nobody uses; or set 'take_over' to 'True': the next rotation then deletes the one that no "
    "store holds, if it is inactive, or nobody has used it since the last rotation",
)
BEING_CHANGED = Refusal(
    "EntityTemporarilyUnmodifiable",
    "the user is being changed",
    "rotate again in a few minutes",
    transient=True,
)
KEY_ID_UNKNOWN = Refusal(
    ("InvalidClientTokenId", "UnrecognizedClientException"),
    "the access key is not known",
    "check the AWS access key (attached record, PAM Configuration, the record's own, or the host's): deleted or "
    "inactive, without its own session token, or of China or the US government, which 'iam_region' must then name",
)
# What a look shows, in our own words.
THIRD_KEY = Refusal(
    "second-key",
    "the user has an access key that no store holds, and that no rotation of this record has made",
    "if another rotation is at work, let it end; else enter that key in the record, if it is the one in use, or delete "
    "it; or set 'take_over' to 'True': the next rotation then deletes it, if it is inactive, or nobody has used it "
    "since the last rotation",
    answer="a key is listed that is neither in a store nor in the ops log",
)
IN_USE = Refusal(
    "second-key-in-use",
    "somebody uses an access key of the user that no store holds",
    "if another rotation is at work, let it end; else give whoever uses that key the record's, then make it inactive "
    "or delete it: no rotation deletes a key in use",
    answer="`take_over` is `True`, and a key that no store holds was used since the last rotation",
)
BOTH_IN_USE = Refusal(
    "both-keys-in-use",
    "the record and its mirrors do not hold the same access key, and neither is known as one that a rotation has made",
    "if another rotation is at work, let it end; else enter the key in use everywhere, and delete the other one",
    answer="two keys are listed, and each is in a store",
)
INACTIVE = Refusal(
    "inactive",
    "the access key that the record holds is inactive",
    "make it active again, or empty the record's two key fields, so that a rotation begins anew",
    answer="the key's `Status` is `Inactive`",
)
OTHER_USER = Refusal(
    "other-user",
    "the access key that the script acts with is of another user or account",
    "attach a record with an administrator's key, or enter the user's own key in the record",
    answer="`GetCallerIdentity` names somebody else",
)

REFUSALS = (
    DENIED,
    NOT_ALLOWED,
    NO_USER,
    NO_ROOM,
    BEING_CHANGED,
    KEY_ID_UNKNOWN,
    KEY_ENDED,
    CLOCK,
    WRONG_SECRET,
    THIRD_KEY,
    IN_USE,
    BOTH_IN_USE,
    INACTIVE,
    OTHER_USER,
)


def refusal_of(code: str, message: str) -> Refusal | None:
    """Return what an answer of AWS is, by its code and message; None where it is none of these."""
    return find_refusal(code, REFUSALS, message)
