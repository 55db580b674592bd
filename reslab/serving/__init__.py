"""A trained model behind HTTP: batching, the endpoints, and the processes that run them."""
