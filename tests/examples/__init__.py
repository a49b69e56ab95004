"""Tests of what the example clients calculate."""
