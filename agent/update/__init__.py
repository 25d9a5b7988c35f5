"""Moving a slot to a new bundle and back: the table, its journal, and the runner of its effects."""
