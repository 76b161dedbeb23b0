"""Dataflows, each read from top to bottom like a diagram. Importing one makes signals end it gracefully."""

from tapewatch.stopping import install

install()
