"""Readers of the formats of the field. Nothing here downloads; `sources` says where data is looked for."""
