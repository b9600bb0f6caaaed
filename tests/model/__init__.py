"""Messaging beside a model of it: whatever happens, nothing is lost and nothing comes twice."""
