"""What the layers are made of: moments, scales and shifts in native passes. No kernel knows a layer."""
