"""All SQL: schema, statements, migrations."""
