"""Geometry and drawing: nothing here is learned."""
