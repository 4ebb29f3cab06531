"""Supervised fine-tuning on worked answers."""
