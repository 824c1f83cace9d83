"""What happens to the older server groups of a cluster once a new one is healthy and takes traffic."""
