"""Adapters for the model runtimes, behind one protocol."""
