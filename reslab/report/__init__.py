"""A run, a study or several of them as one HTML page that opens offline. No Keras."""
