"""The stores, each with the vendor's own client against the sandbox."""
