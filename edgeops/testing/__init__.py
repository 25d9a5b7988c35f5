"""Emulated hardware and clocks for tests, ours and users own."""
