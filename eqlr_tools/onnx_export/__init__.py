"""ONNX graphs for inference: emitted from networks, or with run-time scales folded; checked before they are kept."""
