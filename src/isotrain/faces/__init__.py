"""Faces: detected, aligned, represented and recognised, on this machine alone."""
