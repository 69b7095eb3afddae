"""A candidate takes over by steps, on evidence, and gives way when it is worse."""
