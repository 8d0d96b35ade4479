"""Tests of what works on many records in one process."""
