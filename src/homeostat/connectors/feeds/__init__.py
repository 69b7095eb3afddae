"""Data that comes from elsewhere: tables of labels and of past predictions, and events of other servers."""
