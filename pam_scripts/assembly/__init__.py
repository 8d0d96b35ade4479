"""How a script is put together from its parts: the registry of mirrors and consumers, and what a script is."""
