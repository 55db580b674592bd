"""One module per format that images are read from."""
