"""Cloud operations: what they take, the order of their steps, and how each is undone."""
