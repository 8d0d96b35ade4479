"""The command `pam-scripts`: a module for each of its commands."""

import gc

# As in an attached file: imports and runs make tens of thousands of objects, and next to none of them is garbage that
# Python would have to look for, a tenth of the CPU time of many rotations in one process.
gc.set_threshold(20_000)
