"""What noise is: drawn, measured, and made even."""
