"""The report of a conversion: what was made, what it costs, and what can be relied on."""
