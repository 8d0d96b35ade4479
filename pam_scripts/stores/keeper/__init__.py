"""Keeper: the record that is rotated, through Secrets Manager; the truth that mirrors follow.

`configuration` finds the Gateway's access to Secrets Manager, `client` is the wire, `records` puts jobs together,
`record` is the store.
"""

SYSTEM = "keeper"
