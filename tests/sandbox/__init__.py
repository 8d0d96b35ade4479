"""Tests of the sandbox: its services answer as the real ones do, to clients nobody here wrote."""
