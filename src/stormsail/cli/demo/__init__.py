"""The demo: a real deployment under live traffic while the engine and the worker are killed again and again."""
