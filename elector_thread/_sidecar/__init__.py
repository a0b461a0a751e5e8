"""Everything that touches the network: HTTP exchanges and what the sidecar's answers mean."""
