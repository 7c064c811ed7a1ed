"""What Alembic runs; `clients.results.migrate` gives it the connection, inside the transaction that holds the lock."""

from alembic import context

from switchyard.clients.results.tables import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
