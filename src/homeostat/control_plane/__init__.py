"""All that people and programs may ask and order, without any transport: HTTP and the command line are thin over it."""
