"""The Keeper Gateway's side of a script: its payload, the run, what is said, and the exit status."""
