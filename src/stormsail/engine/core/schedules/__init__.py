"""Schedules: what one is, what requests and the passing of time do to it. Pure."""
