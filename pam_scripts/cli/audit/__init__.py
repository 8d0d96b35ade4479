"""`audit`: what is wrong with all rotations, each with the way out. Nothing in here changes anything."""
