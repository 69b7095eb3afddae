"""Routing, scoring, and the writing of the prediction log."""
