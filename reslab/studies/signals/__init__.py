"""Gradients and activations by layer."""
