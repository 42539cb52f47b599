"""The database: the embedded server's life, connections, migrations, bulk loading."""
