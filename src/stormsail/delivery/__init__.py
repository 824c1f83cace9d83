"""Cloud operations and deployments as workflows on the public temporalio SDK. It knows nothing of the engine's inside."""
