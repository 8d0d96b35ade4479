"""The services, one module each: state in memory, the published wire in front of it."""
