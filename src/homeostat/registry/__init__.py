"""Versions, their stages and their integrity."""
