"""Tests of what every script shares."""
