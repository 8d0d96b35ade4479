"""Tests of those who read a credential, with the scripts that have them reload it."""
