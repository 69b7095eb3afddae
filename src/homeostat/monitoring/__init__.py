"""Windows → checks → findings."""
