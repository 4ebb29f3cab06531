"""Generators of problems that the examples train on: word problems and small programs."""
