"""What the tests and the benchmark share: what must hold after a run, a fork server for runs, a fleet to be audited."""
