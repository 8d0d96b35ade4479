"""Post-rotation scripts for Keeper: rotate keys, keep every copy of them true."""

__version__ = "0.1.0"
