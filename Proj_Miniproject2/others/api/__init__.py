"""What people call from Python: `denoise` for pictures in memory, and `to_torch` for networks to give to others."""
