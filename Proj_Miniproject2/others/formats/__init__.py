"""How pictures and other files are kept: read and written, with nothing lost."""
