"""Inference engines for a trained model: OpenVINO, ONNX Runtime, or Keras's backend."""
