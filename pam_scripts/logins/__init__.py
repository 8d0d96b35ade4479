"""Logging in where several systems take the same login: one module for each kind."""
