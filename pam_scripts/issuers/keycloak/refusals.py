"""What Keycloak refuses, and what stands in the way of a rotation there; what is said of it."""

from __future__ import annotations

from pam_scripts.core.refusals import Refusal

SYSTEM = "keycloak"

_ENABLE = "switch on *Client authentication* and *Service accounts roles* for the client that the admin record names"

WRONG_LOGIN = Refusal(
    "login_failed",
    "the login is not valid",
    "check the admin record: 'login' is a client id, 'password' that client's secret, 'keycloak_realm' its realm",
    message_pattern="invalid client|^(unauthorized_client|invalid_client)$",
    answer="401 to the admin's token request: `unauthorized_client`, or `invalid_client`",
)
NO_SERVICE_ACCOUNT = Refusal(
    "no_service_account",
    "the login is a client without a service account",
    _ENABLE,
    message_pattern="not (enabled|allowed) to retrieve service account",
    answer="401 to the admin's token request: `Client not enabled to retrieve service account`",
)
NO_REALM = Refusal(
    "no_realm",
    "there is no such realm",
    "check 'keycloak_realm' in the record and in the one with the login, and whether 'keycloak_url' must end in /auth",
    message_pattern="realm (does not exist|not found)",
    answer="404: `Realm does not exist` to a token request, `Realm not found.` to reading clients",
)
NO_RIGHT = Refusal(
    "no_right",
    "the login lacks the role manage-clients",
    "give the admin's service account the role `manage-clients` of that realm's `realm-management`",
    message_pattern="403 forbidden",
    answer="403: `HTTP 403 Forbidden`; or the secret is shown as stars, or `access` says that it may not be managed",
)
NO_CLIENT = Refusal(
    "no_client",
    "there is no such client in that realm",
    "check 'keycloak_client' and 'keycloak_realm', upper and lower case, too; or make it: no rotation makes a client",
    answer="an empty list of clients",
)
NOT_OPENID = Refusal(
    "not_openid_connect",
    "the client's protocol is not OpenID Connect",
    "name another client: this one has no secret",
    answer="`protocol` is another than `openid-connect`",
)
NO_SECRET = Refusal(
    "no_secret",
    "the client is public, or takes tokens only, and has no secret that it logs in with",
    "switch on *Client authentication* for it, or name another client",
    answer="`publicClient` or `bearerOnly` is true",
)
OTHER_AUTHENTICATOR = Refusal(
    "other_authenticator",
    "the client logs in by another way than its secret",
    "set *Client Authenticator* to *Client Id and Secret* under the client's credentials, or stop rotating it",
    answer="`clientAuthenticatorType` is another than `client-secret`",
)
IN_VAULT = Refusal(
    "secret_in_vault",
    "the client's secret is kept in Keycloak's own vault",
    "rotate it there: a new secret here would take the place of the reference",
    answer="the secret is shown as `${vault.NAME}`",
)
OVERWRITTEN = Refusal(
    "secret_overwritten",
    "the server does not hold the secret that was set: somebody else has set one since",
    "run the rotation again: it starts from whatever it finds",
    answer="another secret is read back than was set",
    status=4,
)
NOT_ACCEPTED = Refusal(
    "not_accepted",
    "the new secret gets no token, though the server holds it",
    "try the client's token request by hand: a client policy, or a proxy before the server, may refuse it",
    answer="401 to the client's token request with the new secret",
)

LOGIN_REFUSALS = (NO_SERVICE_ACCOUNT, WRONG_LOGIN, NO_REALM)
CALL_REFUSALS = (NO_RIGHT, NO_REALM)
REFUSALS = (
    *LOGIN_REFUSALS,
    NO_RIGHT,
    NO_CLIENT,
    NOT_OPENID,
    NO_SECRET,
    OTHER_AUTHENTICATOR,
    IN_VAULT,
    OVERWRITTEN,
    NOT_ACCEPTED,
)
