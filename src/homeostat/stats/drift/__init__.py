"""How far two samples, or two profiles, lie apart: one method a file, and `comparison`, which decides."""
