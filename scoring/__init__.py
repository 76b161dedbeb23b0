"""Predictions: what the transaction flow would say of a transaction, from what it has published."""
