"""What Alembic runs; `clients.migrate` gives it the connection, inside the transaction that holds the lock."""

from alembic import context

from clients.results_tables import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
