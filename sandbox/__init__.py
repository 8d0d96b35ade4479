"""The services this package talks to, on loopback at their real host names, for tests and the demo."""
