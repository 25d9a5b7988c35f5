"""One quantization plan, and the writers that spell it in a file format."""
