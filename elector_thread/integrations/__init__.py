"""Adapters for frameworks and servers. Each module imports only its own framework."""
