"""The examples: each is tried as far as that goes without its own host."""
