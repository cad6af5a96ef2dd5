"""What layers are made of: moments, scales and shifts in native passes. None knows a layer."""
