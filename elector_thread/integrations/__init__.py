"""Adapters for frameworks and servers. Each imports its own framework, and nobody else's."""
