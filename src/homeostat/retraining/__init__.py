"""Runs: extract → validate data → train → evaluate → gate → register."""
