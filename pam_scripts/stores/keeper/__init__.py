"""Keeper: the record that is rotated, through Secrets Manager; the truth that mirrors follow.

`configuration` finds the Gateway's access to Secrets Manager, `client` makes its calls, `records` puts jobs together,
`record` is the store.
"""

SYSTEM = "keeper"

# What is said of a record, file or folder that the SDK could not read, and the way out.
CANNOT_BE_DECRYPTED = "cannot be decrypted with the key of the Gateway's application"
SHARE_ANEW = "remove it from the application's shared records, and share it again"
