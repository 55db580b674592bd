"""The error of a trained network without one of its units, or with two swapped."""
