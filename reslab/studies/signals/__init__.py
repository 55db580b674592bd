"""Gradients and activations by layer, of networks and their twins and of trained runs."""
