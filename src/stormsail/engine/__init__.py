"""The embedded durable-execution engine: Temporal's gRPC API on one SQLite file. It knows nothing of deployments."""
