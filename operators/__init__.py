"""The judging: one idea a file. Only ``dataflow`` knows Bytewax; the rest is plain Python over arrays."""
