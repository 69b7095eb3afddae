"""Data that comes from elsewhere, over HTTP: labels in bulk, past predictions, and events of other servers."""
