"""Adapters to the outside: served models, data sources, notifiers."""
