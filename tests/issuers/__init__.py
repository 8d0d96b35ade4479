"""Tests of those who make keys."""
