"""Tests of single modules that keep copies of a credential; what all of them must do stands in tests/contracts/."""
