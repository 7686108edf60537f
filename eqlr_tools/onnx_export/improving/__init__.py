"""An existing ONNX model made better: scales folded, weights constant, the batch free, half precision kept safe."""
