"""The registry: signed bundles, immutable, their files addressed by content."""
