"""Cloud operations and deployments as workflows on the public temporalio SDK; knows nothing inside the engine."""
