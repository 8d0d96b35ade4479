"""Seeq: access keys of applications and of users, over the REST API (R60 and later).

Every Seeq server describes its own API under `/api/index.html`; the official Python client
(PyPI `seeq`) is its written form. What neither says is not relied on here: whether a key is
deleted by its key id or its item id, and whether a key's login names the directory.
"""
