"""Where a training's pairs come from: photos, drawn scenes, shots of one's own, single pictures."""
