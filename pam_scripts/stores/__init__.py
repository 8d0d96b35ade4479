"""Where copies of a credential are kept: one module for each system that stores them."""
