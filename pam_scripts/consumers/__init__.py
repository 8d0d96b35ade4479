"""Who reads a credential and must be made to read it anew: one module for each kind of consumer."""
