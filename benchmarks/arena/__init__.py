"""Routers against each other: the same requests, each in a world of its own, beside a queue that knows everything."""
