"""Stormsail: cloud operations that finish."""
