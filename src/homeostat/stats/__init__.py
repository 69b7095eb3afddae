"""Statistics: arrays in, frozen results out. No data frames, no input or output, no plots."""
