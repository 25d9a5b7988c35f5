"""Lowering of the normalised graph to TensorFlow Lite flatbuffers."""
