"""Frames in, reports out: the functions that notebooks and scripts call as `homeostat.compare` and so on."""
