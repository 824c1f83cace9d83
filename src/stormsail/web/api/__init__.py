"""The REST API under /api/v1: routes that turn read models into JSON and requests into changes."""
