"""Charts as inline SVG, drawn by our own code: they read without scripts, in light and dark, on paper and by ear."""
