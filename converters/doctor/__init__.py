"""What is wrong with a model file, why it matters, and how to repair it."""
