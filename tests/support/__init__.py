"""What the tests and the benchmark run with: processes that start fast, and a fleet to be audited."""
