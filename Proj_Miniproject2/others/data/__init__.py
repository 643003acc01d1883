"""Files, pictures and noises: where the pairs to train on come from."""
