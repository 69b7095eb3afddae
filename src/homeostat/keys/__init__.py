"""API keys: how they look, who holds which, and telling in microseconds whether one is good."""
