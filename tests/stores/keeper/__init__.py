"""Keeper's record as the truth."""
