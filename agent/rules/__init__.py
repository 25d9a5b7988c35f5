"""From results to local alerts: a small grammar and one pure state machine per rule."""
