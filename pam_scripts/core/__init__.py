"""What every script shares: the order of a rotation, the Gateway's payload, time and errors."""
