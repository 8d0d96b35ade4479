"""Tests of what is particular to Azure Key Vault."""
