"""Temporal's own nouns on our command line, from workflow to search-attribute.

The verbs and flags are those of Temporal's command line, and they work on any Temporal server. Each noun has one module
with its commands, which imports nothing heavy, and one ending in `_run` that talks to the engine.
"""
