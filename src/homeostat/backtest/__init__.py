"""Replays a labelled table through the real loop on a simulated clock."""
