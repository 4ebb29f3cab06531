"""Measuring a checkpoint on held-out problems, and comparing two measurements."""
