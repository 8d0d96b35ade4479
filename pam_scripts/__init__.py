"""Post-rotation scripts for Keeper: rotate keys, keep every copy of them true."""

import time

# When this began, by the monotonic clock and the wall clock: a run's time counts from here.
STARTED = (time.monotonic(), time.time())

__version__ = "1.0.0"

# What is running: an attachable file puts the name of its build here before it imports anything else of the package,
# the version and eight digits for what the file holds: 1.0.0+1a2b3c4d.
__build__: str = __version__
