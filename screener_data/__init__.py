"""Audited Indian equity data."""
