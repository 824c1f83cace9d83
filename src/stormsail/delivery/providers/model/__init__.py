"""A cloud in memory: the provider of tests and simulations, with faults on demand."""
