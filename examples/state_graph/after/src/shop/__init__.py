"""A shop's agent: it looks orders up, and refunds them."""
