"""The gallery: who is known, by which faces, from which photos, and with whose consent."""
