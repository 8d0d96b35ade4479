"""The command line, `python -m pam_scripts`: see trouble before it happens. Nothing in here changes a key."""
