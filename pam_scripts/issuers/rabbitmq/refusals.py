"""What RabbitMQ refuses, and what is said of it."""

from __future__ import annotations

from pam_scripts.core.refusals import Refusal

SYSTEM = "rabbitmq"

_GRANT = "give the admin record's user the tag on the server: rabbitmqctl set_user_tags USER administrator"

WRONG_LOGIN = Refusal(
    "login_failed",
    "the login is not valid",
    "check the admin record's 'login' and 'password'",
    message_pattern="login failed|^not_authorized$",
    answer="401 to the admin's login: `Login failed`",
)
NOT_ADMINISTRATOR = Refusal(
    "not_administrator",
    "the login lacks the tag administrator",
    _GRANT,
    message_pattern="not administrator",
    answer="401 to reading a user, `Not administrator user`; or the login's tags lack it",
)
NOT_MANAGEMENT = Refusal(
    "not_management",
    "the login has no tag that lets it use the management plug-in",
    _GRANT,
    message_pattern="not management",
    answer="401 to the admin's login: `Not management user`, which is said of a right password alone",
)
LOOPBACK = Refusal(
    "loopback_only",
    "the user may log in from the server's own host only",
    "name another user in the admin record, or take it out of the server's `loopback_users`",
    message_pattern="via localhost",
    answer="401: `User can only log in via localhost`",
)
NO_USER = Refusal(
    "no_user",
    "there is no such user",
    "check 'username' and 'username_spare', upper and lower case, too; or make the user: no rotation makes one",
    message_pattern="not found",
    answer="404 to reading the user",
)
VALIDATOR = Refusal(
    "credential_validation_failed",
    "the server's rule for passwords refuses it",
    "set 'password_length' or 'password_symbols' as the server's `credential_validator` asks for",
    message_pattern="credential_validation_failed",
    answer="400 to setting the password: `credential_validation_failed`",
)
NOT_ACCEPTED = Refusal(
    "not_accepted",
    "the new password does not log in, though the server holds it",
    "look at the server's `auth_backends`: where another one than its own knows the user, rotate the password there",
    answer="401 to the user's login with the new password: `Login failed`",
)
# What a look shows, in our own words.
BOTH_IN_USE = Refusal(
    "both-users-in-use",
    "mirrors have the one user and the other, and the record the password of neither, so that to replace either one "
    "would cut somebody off",
    "enter the user name and the password in use into the record by hand, then rotate again",
    answer="of two users each has a password and stands in a mirror, and the record's password is nobody's",
)

REFUSALS = (WRONG_LOGIN, NOT_ADMINISTRATOR, NOT_MANAGEMENT, LOOPBACK, NO_USER, VALIDATOR, NOT_ACCEPTED, BOTH_IN_USE)
