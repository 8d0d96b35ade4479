"""`templates`: the records of every script, and what Keeper Commander does with them, from one definition."""
