"""Labels: how they come in, and how they are joined with what was predicted."""
