"""Fuzzing what reads foreign bytes: `python -m tests.fuzz --help`, or `make fuzz` for hours."""
