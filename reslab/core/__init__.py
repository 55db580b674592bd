"""Errors, files, random numbers, signals and the machine. No Keras."""
