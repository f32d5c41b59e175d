"""Writers of the pages and pictures that follow from the code."""
