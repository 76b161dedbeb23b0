"""Dataflows, each read from top to bottom like a diagram. Importing one makes signals end it gracefully."""

from tapewatch.memory import keep_freed_memory
from tapewatch.stopping import install

install()
keep_freed_memory()
