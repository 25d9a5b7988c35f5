"""Device images: board profiles, recipes and boot tests."""
