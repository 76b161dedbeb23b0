"""The commands of ``tapewatch``: each module adds its own to the app and imports what works when called."""
