"""What Alembic runs: the steps over the connection that it is given, or the SQL of them."""

from alembic import context

from stormsail.delivery.records.tables import METADATA

if context.is_offline_mode():
    context.configure(url=context.config.get_main_option("sqlalchemy.url"), target_metadata=METADATA)
else:
    context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
