"""`audit`: a fleet of rotations looked at in one go."""
