"""tapewatch: the words all parts share (settings, records, symbols, documents) and the command line."""
