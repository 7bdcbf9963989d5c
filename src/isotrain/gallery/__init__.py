"""The gallery: who is known, by which faces, from which photos, and with whose consent.

    with open_gallery("gallery.db") as gallery:
        gallery.enroll("Ada", faces, model, consent=Consent("given", by="Ada", on=date.today()))
        hits = gallery.search(vectors, k=3, model=model)
        gallery.forget("Ada")

SQLite's file is the truth; the same tables stand on PostgreSQL where the address says so. Nothing here uses the
network otherwise, and nothing is reported to anybody.
"""

from isotrain.gallery.consent import Consent
from isotrain.gallery.opening import open_gallery
from isotrain.gallery.records import (
    By,
    Enrolled,
    Erased,
    Face,
    FaceTable,
    Group,
    Hit,
    NewFace,
    Person,
    PhotoSource,
    Undone,
)
from isotrain.gallery.store import Gallery

__all__ = [
    "By",
    "Consent",
    "Enrolled",
    "Erased",
    "Face",
    "FaceTable",
    "Gallery",
    "Group",
    "Hit",
    "NewFace",
    "Person",
    "PhotoSource",
    "Undone",
    "open_gallery",
]
