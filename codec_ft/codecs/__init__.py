"""Neural codecs behind one interface, loaded by name."""
