"""How each system is looked at for many records at once: by its lists, page by page, never by a secret's value."""
