"""Vendors' own clients in other languages and as commands: each does its work in the sandbox, and none knows of it."""
