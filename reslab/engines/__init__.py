"""A trained model on inference engines: OpenVINO, ONNX Runtime or the backend itself."""
