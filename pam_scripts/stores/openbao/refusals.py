"""What OpenBao and HashiCorp Vault refuse, and what is said of it.

https://openbao.org/api-docs/#http-status-codes

They have no codes of their own, but HTTP's and a sentence: the codes here are HTTP's, `login` before them where it is
the login that is refused. Known sentences are recognised, and said in our words.
"""

from __future__ import annotations

from pam_scripts.core.refusals import Refusal, find_refusal

SYSTEM = "openbao/vault"

NOT_ALLOWED = Refusal(
    "403",
    "no policy of the login allows it",
    "add that line, or those lines, to one of the login's policies",
    answer="403 permission denied, and the token is good; `sys/capabilities-self` lacks the capability",
)
TOKEN_ENDED = Refusal(
    "403 token",
    "the token in 'vault_token_file' is not known, or has ended",
    "see that the agent on the host is well which writes the file; or enter an AppRole in its place",
    answer="403 permission denied, also to `auth/token/lookup-self`",
)
NO_ENGINE = Refusal(
    "403 mount",
    "no engine is there, or the login's policies allow nothing in it",
    "correct the first part of 'vault_path', which is the engine's own path; or give the login the policy that the "
    "page on mirrors shows",
    answer="403 preflight capability check",
)
WRONG_ENGINE = Refusal(
    "version",
    "the engine is not KV version 2",
    "name a secret in an engine of that version; of version 1 `bao kv enable-versioning` makes one",
    answer="another type, or `options.version` is not 2",
)
NO_NAMESPACE = Refusal(
    ("404", "login 404"),
    "there is no such namespace",
    "correct 'vault_namespace', or empty it",
    message_pattern="namespace not found",
    answer="404 namespace not found",
)
NO_ROUTE = Refusal(
    "404",
    "the engine is not there any more",
    "enable it again, or correct 'vault_path'",
    message_pattern="no handler for route",
    answer="404 no handler for route",
)
CHANGED = Refusal(
    "400",
    "somebody else wrote the secret at the same moment",
    "run the rotation again; look for who writes the secret so often",
    message_pattern="check-and-set parameter did not match",
    transient=True,
    answer="400 check-and-set parameter did not match the current version",
)
UPGRADING = Refusal(
    "400",
    "the engine is being upgraded to version 2",
    "run the rotation again in a minute",
    message_pattern="upgrading from non-versioned",
    transient=True,
    answer="400 Upgrading from non-versioned to versioned data",
)
WRONG_APPROLE = Refusal(
    "login 400",
    "the role id or the secret id is not right, or has ended",
    "make a new secret id for the AppRole, and enter it as 'vault_secret_id'",
    message_pattern="invalid role|invalid secret|secret.id",
    answer="400 invalid role or secret ID",
)
WRONG_JWT = Refusal(
    "login 400",
    "the JWT is not accepted for the role",
    "check 'vault_jwt_role', what the role is bound to, and that the JWT in 'vault_jwt_file' is fresh",
    answer="400 to a login with a JWT",
)
NO_AUTH = Refusal(
    "login 403",
    "that way to log in is not enabled there, or not for this host's address",
    "check 'vault_auth_path' and 'vault_namespace', and which addresses the role is bound to",
    answer="403 permission denied to a login",
)
SEALED = Refusal(
    ("503", "login 503"),
    "the server is sealed",
    "unseal it, then run the rotation again",
    message_pattern="sealed",
    transient=True,
    answer="503 Vault is sealed",
)
NOT_ACTIVE = Refusal(
    ("503", "login 503", "500", "login 500"),
    "no node of the cluster is active",
    "look at the cluster with `bao status`, then run the rotation again",
    message_pattern=r"not active|no active",
    transient=True,
    answer="503 node is not active, no active instance found",
)
STANDBY = Refusal(
    ("472", "473", "login 472", "login 473"),
    "the address leads to a standby node",
    "enter the active node's address as 'vault_address', or that of a load balancer which goes by `sys/health`",
    answer="473 of a performance standby, 472 of a disaster recovery node",
)
TOO_MANY = Refusal(
    ("429", "login 429"),
    "a rate limit quota is used up",
    "run the rotation again later, or raise the quota; where a load balancer answers so, the node behind it is a "
    "standby: enter the active node's address",
    transient=True,
    answer="429 rate limit quota exceeded; by `sys/health` a standby",
)
READ_ONLY = Refusal(
    ("400", "500"),
    "the cluster is read-only",
    "enter the primary cluster's address as 'vault_address'",
    message_pattern="read-?only",
    answer="cannot write to readonly storage",
)
TOO_LONG = Refusal(
    ("413", "500"),
    "the secret would be too long",
    "a secret takes 1 MB: shorten the text around the value, or take what stands beside the key out of it",
    message_pattern="too large",
    answer="its length; 413 request body too large",
)
TOO_MANY_TAGS = Refusal(
    "custom_metadata",
    "it would have more than the 64 words of custom metadata that a secret takes",
    "take some of its own out",
    answer="the number of its words",
)

# The first that an answer can be is the one that it is.
REFUSALS = (
    NOT_ALLOWED,
    TOKEN_ENDED,
    NO_ENGINE,
    WRONG_ENGINE,
    NO_NAMESPACE,
    NO_ROUTE,
    CHANGED,
    UPGRADING,
    WRONG_APPROLE,
    WRONG_JWT,
    NO_AUTH,
    SEALED,
    NOT_ACTIVE,
    STANDBY,
    TOO_MANY,
    READ_ONLY,
    TOO_LONG,
    TOO_MANY_TAGS,
)


def refusal_of(code: str, message: str) -> Refusal | None:
    """Return what an answer is, by HTTP's status, with `login` before it for a login, and by what the server says."""
    return find_refusal(code, REFUSALS, message)
