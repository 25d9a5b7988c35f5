"""Structured pruning without training: whole channels go, the layers behind are refitted."""
