"""The script that Alembic runs: it migrates on the connection that `raytasks.store` provides.

Without a connection it prints PostgreSQL's statements, for `raytasks db upgrade --sql`.
"""

from alembic import context

from raytasks.store.schema import metadata

if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql",
        target_metadata=metadata,
        transactional_ddl=True,
        literal_binds=True,
        output_buffer=context.config.attributes["output"],
    )
else:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        transactional_ddl=True,
        render_as_batch=True,
    )
with context.begin_transaction():
    context.run_migrations()
