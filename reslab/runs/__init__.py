"""A training as a value (`recipe`) and as a folder (`run`). No Keras."""
