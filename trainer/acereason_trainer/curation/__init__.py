"""Choosing the rows that are worth training on, and saying why for each that is not."""
