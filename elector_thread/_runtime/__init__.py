"""Makes the threads and connects them: the sidecar to the state, the state to user code."""
