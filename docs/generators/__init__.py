"""What writes the pages and pictures that follow from the code."""
