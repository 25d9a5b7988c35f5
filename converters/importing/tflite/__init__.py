"""Float TFLite files become ONNX: a bounds-checked reader and one handler per operator."""
