"""Every operation fails, and power is lost at every one: what must hold all the same."""
