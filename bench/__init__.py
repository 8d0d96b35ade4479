"""What a rotation costs, measured against the sandbox: `make bench`."""
