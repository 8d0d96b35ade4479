"""Tests of what is particular to AWS Secrets Manager."""
