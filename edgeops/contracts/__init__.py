"""Frozen dataclasses that programs exchange; one canonical byte form each."""
