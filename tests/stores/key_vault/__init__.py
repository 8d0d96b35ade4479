"""Key Vault's mirror."""
