"""The pure core: it decides. No I/O, no clock, no randomness; everything comes in as an argument and goes out as data."""
