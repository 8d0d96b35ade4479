"""Many records in one process: which are chosen, how they are gone through, and what came of each."""
