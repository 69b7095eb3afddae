"""From findings to people: deduplicated, stateful, resolved when the cause is gone."""
