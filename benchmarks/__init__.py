"""Measure Waterspout beside a raw echo, a minimal server of the same design, stock Tornado and FastAPI."""
