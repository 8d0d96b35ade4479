"""Tests of how a script is put together from its parts."""
