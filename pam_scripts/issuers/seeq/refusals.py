"""What Seeq refuses, and what is said of it."""

from __future__ import annotations

from pam_scripts.core.refusals import Refusal

SYSTEM = "seeq"

_RIGHT = "User and Group Administration"
GRANT = f'the admin user must be an administrator or have the capability "{_RIGHT}"'
VALIDITY = "AccessKeyValidityDuration of the user, or Authentication/AccessKey/ValidityWithoutUserLogin"

WRONG_LOGIN = Refusal(
    SYSTEM,
    "wrong-login",
    "401 to the admin's login",
    "the login is not valid",
    "check the admin record's 'login', 'password' and 'auth_provider_*' fields",
)
NO_RIGHT = Refusal(
    SYSTEM,
    "no-right",
    "403 to making a key for an application",
    "the login lacks the right to",
    GRANT,
)
CREATION_DISABLED = Refusal(
    SYSTEM,
    "creation-disabled",
    "403 to making a key for a user; only administrators may read whether it is so, and them it does not stop",
    "the creation of access keys is disabled on this server",
    f"the server may have users' own access keys disabled (Authentication/AccessKey/Creation/Enabled); {GRANT}",
)
NO_APPLICATION = Refusal(
    SYSTEM,
    "no-application",
    "404 to reading the application",
    "404 Not Found",
    "check 'application_id'; the application may be archived, or not this user's to see",
)
ARCHIVED = Refusal(
    SYSTEM,
    "archived",
    "the application has `isArchived`",
    "it is archived",
    "restore it, or stop rotating it",
)
IDENTITY_PROVIDER = Refusal(
    SYSTEM,
    "identity-provider",
    "the application has an `oidcDirectoryId`",
    "it authenticates through an identity provider (OIDC) and can have no access keys",
    "rotate its secret at the identity provider",
)
NO_USER = Refusal(SYSTEM, "no-user", "404 to reading the user", "404 Not Found", "check 'user_id'")
USER_DISABLED = Refusal(
    SYSTEM,
    "user-disabled",
    "the user's `isEnabled` is false",
    "the user is disabled",
    "enable the user, or stop rotating the key",
)
KEYS_DISABLED = Refusal(
    SYSTEM,
    "keys-disabled",
    "keys of the user are valid for 0 minutes",
    "the user's access keys are disabled",
    f"raise {VALIDITY}",
)
USER_MUST_LOG_IN = Refusal(
    SYSTEM,
    "user-must-log-in",
    "the user's last login is longer ago than keys are valid",
    "the user's access keys work for a time after the user's own login only, and that is over",
    f"have the user log in, or raise {VALIDITY}",
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
