"""What Seeq refuses, and what is said of it."""

from __future__ import annotations

from pam_scripts.core.refusals import Refusal

SYSTEM = "seeq"

_RIGHT = "User and Group Administration"
GRANT = f'the admin user must be an administrator or have the capability "{_RIGHT}"'
VALIDITY = "AccessKeyValidityDuration of the user, or Authentication/AccessKey/ValidityWithoutUserLogin"

WRONG_LOGIN = Refusal(
    "wrong-login",
    "the login is not valid",
    "check the admin record's 'login', 'password' and 'auth_provider_*' fields",
    answer="401 to the admin's login",
)
NO_RIGHT = Refusal("no-right", "the login lacks the right to", GRANT, answer="403 to making a key for an application")
CREATION_DISABLED = Refusal(
    "creation-disabled",
    "the creation of access keys is disabled on this server",
    f"the server may have users' own access keys disabled (Authentication/AccessKey/Creation/Enabled); {GRANT}",
    answer="403 to making a key for a user; only administrators may read whether it is so, and them it does not stop",
)
NO_APPLICATION = Refusal(
    "no-application",
    "404 Not Found",
    "check 'application_id'; the application may be archived, or not this user's to see",
    answer="404 to reading the application",
)
ARCHIVED = Refusal(
    "archived", "it is archived", "restore it, or stop rotating it", answer="the application has `isArchived`"
)
IDENTITY_PROVIDER = Refusal(
    "identity-provider",
    "it authenticates through an identity provider (OIDC) and can have no access keys",
    "rotate its secret at the identity provider",
    answer="the application has an `oidcDirectoryId`",
)
NO_USER = Refusal("no-user", "404 Not Found", "check 'user_id'", answer="404 to reading the user")
USER_DISABLED = Refusal(
    "user-disabled",
    "the user is disabled",
    "enable the user, or stop rotating the key",
    answer="the user's `isEnabled` is false",
)
KEYS_DISABLED = Refusal(
    "keys-disabled",
    "the user's access keys are disabled",
    f"raise {VALIDITY}",
    answer="keys of the user are valid for 0 minutes",
)
USER_MUST_LOG_IN = Refusal(
    "user-must-log-in",
    "the user's access keys work only for a time after the user's last login, and that time is over",
    f"have the user log in, or raise {VALIDITY}",
    answer="the user's last login is longer ago than keys are valid",
)

REFUSALS = (
    WRONG_LOGIN,
    NO_RIGHT,
    CREATION_DISABLED,
    NO_APPLICATION,
    ARCHIVED,
    IDENTITY_PROVIDER,
    NO_USER,
    USER_DISABLED,
    KEYS_DISABLED,
    USER_MUST_LOG_IN,
)
