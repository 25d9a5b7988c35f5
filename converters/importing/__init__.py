"""From an ONNX file to the normalised graph that everything else works on."""
