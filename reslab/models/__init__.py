"""From a description to a `keras.Model`: layers, optimizers, stacked units, model files."""
