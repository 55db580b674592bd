"""Faster execution of any Keras model on PyTorch, JAX and TensorFlow."""
