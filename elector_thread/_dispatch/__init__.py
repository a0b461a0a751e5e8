"""Everything that runs user code: callbacks, leader tasks and log handlers."""
