"""Networks as ONNX graphs for inference, emitted node by node from canonical parameters and checked."""
