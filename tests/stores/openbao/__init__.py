"""The mirror in OpenBao or Vault."""
