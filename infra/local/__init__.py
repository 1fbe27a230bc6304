"""The team's stack on this machine's loopback, without containers."""
