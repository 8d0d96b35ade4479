"""The labels that Keeper's own records have: none of them is a misspelt one of ours."""

from __future__ import annotations

# https://docs.keeper.io/en/keeperpam/secrets-manager/about/field-record-types
_TYPES = """
accountNumber address addressRef appFiller bankAccount birthDate cardRef checkbox company databaseType date
directoryType dropdown email expirationDate fileRef host json keyPair licenseNumber login multiline name note
oneTimeCode otp pamHostname pamRemoteBrowserSettings pamResources pamSettings passkey password paymentCard phone
pinCode privateKey rbiUrl recordRef schedule script secret securityQuestion text url
"""

_OF_PAM_RECORDS = """
accessKeyId accessSecretKey adminOcid adminPrivateKey adminPublicKey awsId azureId clientId clientSecret
connectDatabase databaseId distinguishedName domainName identityProviderUid instanceId instanceName managed
networkCIDR networkId operatingSystem pamDomainId pamGcpId pamGcpRegionName pamOciId pamServiceAccountKey
portMapping privatePEMKey providerGroup providerRegion regionNames regionOci resourceGroups rotationScripts
scanDCCIDR subscriptionId tenancyOci tenantId trafficEncryptionSeed useSSL userMatch
"""

# What the Gateway reads in a PAM User record.
_OF_THE_GATEWAY = "NOOP PrivateKeyType"

STANDARD_LABELS = tuple(f"{_TYPES} {_OF_PAM_RECORDS} {_OF_THE_GATEWAY}".split())
"""As Keeper spells them; compared as all labels are. A field without a label goes by its type."""
