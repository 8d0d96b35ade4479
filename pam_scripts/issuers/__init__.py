"""Where keys are born and die: one module for each system that issues them."""
