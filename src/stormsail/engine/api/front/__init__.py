"""gRPC on HTTP/2, from bytes of a socket to calls and back. Nothing here knows of workflows or of the engine."""
