"""The pure core: it decides. No I/O, no clock, no randomness; all comes in as an argument and goes out as data."""
