"""What benchmarks share: the simulator object, what it tells of its network, the registry and recipes."""
