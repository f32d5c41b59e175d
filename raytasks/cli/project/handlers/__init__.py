"""The task types of this project: raytasks reads all modules here."""
