"""Tools of the repository itself; nothing of this goes on the Gateway's host."""
