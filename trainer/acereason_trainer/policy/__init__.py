"""The model being trained: loading, forward, loss, optimizer, exact state."""
