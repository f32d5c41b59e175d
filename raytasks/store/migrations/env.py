"""The script that Alembic runs: it migrates on the connection that `raytasks.store` provides."""

from alembic import context

from raytasks.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
