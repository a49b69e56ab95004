"""Clients that run against a Waterspout server."""
