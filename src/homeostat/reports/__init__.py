"""Results as text and as self-contained pages: nothing in here computes a result, it only shows one."""
