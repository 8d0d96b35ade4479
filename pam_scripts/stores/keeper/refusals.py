"""What Keeper's Secrets Manager refuses, and what is said of it.

https://docs.keeper.io/en/keeperpam/secrets-manager/about/troubleshooting
"""

from __future__ import annotations

from pam_scripts.core.errors import BadInput
from pam_scripts.core.refusals import Refusal
from pam_scripts.stores.keeper import CANNOT_BE_DECRYPTED, SHARE_ANEW

_CAN_EDIT = ", with 'Can Edit'"
_CHECK_DEVICE = "check that the Gateway's Secrets Manager application and its device are not locked or removed"
_UPDATE_SDK = "update the SDK that the script runs with: python -m pip install --upgrade keeper-secrets-manager-core"

THROTTLED_CODE = "throttled"
THROTTLED = Refusal(
    THROTTLED_CODE,
    "throttled: this Gateway's device has called Secrets Manager too often, and must make no call for 10 s",
    "spread the times of rotations that share this Gateway, and rotate again",
    transient=True,
    answer="403 `throttled` to a device that has called one endpoint 100 times without a pause of 10 s; each call "
    "begins the 10 s anew. It is waited out for as long as there is time",
)
UNKNOWN_KEY = Refusal(
    "unknown-key",
    "the server asks for a public key that the SDK does not know",
    _UPDATE_SDK,
    answer="401 `key` with the number of a public key that the SDK does not have",
)
CHANGING_KEY = Refusal(
    "changing-key",
    "the server keeps asking for another public key",
    "compare 'serverPublicKey' and 'serverPublicKeyId' of the Secrets Manager configuration with what the deployment "
    "has; where there are none, update the SDK",
    answer="401 `key` to a request that was made with the key it asked for",
)
NOT_SHARED = Refusal(
    "not-shared",
    "is not shared to the Gateway's application",
    f"share its folder to the application{_CAN_EDIT}",
    answer="200, and the record is not among those of the answer",
    status=BadInput.status,
)
NOT_READABLE = Refusal(
    "not-readable",
    CANNOT_BE_DECRYPTED,
    f"{SHARE_ANEW}{_CAN_EDIT}",
    answer="200, and the record, or its folder, is encrypted with another key",
    status=BadInput.status,
)
NOT_EDITABLE = Refusal(
    "not-editable",
    "is not editable for the Gateway's application",
    "give the application 'Can Edit' on the shared folder",
    answer="the record has `isEditable` false, wherever it is shared",
    status=BadInput.status,
)
# By the name that the server gives it.
WAYS_OUT = {
    "access_denied": _CHECK_DEVICE,
    "invalid_client": _CHECK_DEVICE,
    "invalid_signature": _CHECK_DEVICE,
    "invalid_client_version": _UPDATE_SDK,
}
NAMED = tuple(Refusal(name, "", way_out, answer=f"403 `{name}`") for name, way_out in WAYS_OUT.items())

REFUSALS = (THROTTLED, *NAMED, UNKNOWN_KEY, CHANGING_KEY, NOT_SHARED, NOT_READABLE, NOT_EDITABLE)
