"""The servers to measure Waterspout beside, each a program: `python -m benchmarks.servers.NAME MODEL`."""
