"""What runs beside the graph on the server: the HTTP app, recovery at start, durable checkpoints for development."""
