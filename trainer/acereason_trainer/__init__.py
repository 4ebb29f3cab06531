"""Data plane: curation, SFT, RL and evaluation, driven by one stage file."""
