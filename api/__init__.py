"""The HTTP interface: results, reviews, metrics, a live stream, and a flow that it starts and stops."""
