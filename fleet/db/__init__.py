"""The server's state of record: schema, migrations, one writer and many readers."""
