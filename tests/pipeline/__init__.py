"""Tests of the way from event to prediction."""
