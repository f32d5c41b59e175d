"""The measured programs: a run starts them, and ends them by their process ids."""
