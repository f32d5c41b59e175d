"""What is measured: programs that a run starts, and ends by their process ids."""
