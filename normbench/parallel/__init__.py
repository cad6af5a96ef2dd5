"""Workers, real and virtual: the arithmetic of who is who, and the process group."""
