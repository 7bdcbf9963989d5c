"""One user's desk: their photos, their gallery, and the two kept in step.

Faces of people who consented are in the gallery. Of everybody else nothing is kept on the disk by which a face could
be known again: their vectors are held in memory, for as long as there is room, so that photos follow at once when
somebody is named. Photos whose vectors are not in memory any more are looked at again in the idle time.

Names are read from the gallery whenever a photo is shown, and stand nowhere else.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from threading import RLock
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from isotrain.data.pictures import read_picture
from isotrain.errors import BadData, BadOption, IsotrainError
from isotrain.faces.keeping import from_left, new_face
from isotrain.faces.recognise import FAR, recognise, threshold_of
from isotrain.gallery import Consent, Erased, Person, PhotoSource, Undone, open_gallery
from isotrain.gallery import Face as KeptFace
from isotrain.gallery.faces import SAME_BOX
from isotrain.gallery.people import clean_name
from isotrain.look import Looker, Sight
from isotrain.serve.photos import Gone, Likeness, Photo, Photos, searched
from isotrain.serve.photos_shown import with_names
from isotrain.serve.users import User

LOG = logging.getLogger("isotrain.serve")
TIDY_SECONDS = 600.0
"""Between two looks at what time brings."""
REMEMBERED = 20_000
"""Faces of one user whose vectors are held in memory: 10 to 20 MB."""


@dataclass(frozen=True)
class Vector:
    """What is left of a face to tell whose it is."""

    vector: Tensor


class Desk:
    """Everything of one user but trainings.

    Args:
        user: whose.
        looker: the parts.
        passphrase: of the gallery, where it is encrypted.

    Raises:
        BadOption: a wrong, missing or needless passphrase.
        BadData: a file that is something else, newer or damaged; or faces of another model than the looker's.
    """

    def __init__(self, user: User, looker: Looker, passphrase: str | None) -> None:
        self.user, self._people = user, looker.people
        self.photos = Photos(user.folder)
        self.gallery = open_gallery(user.folder / "gallery.db", passphrase)
        self._in_step = RLock()
        self._vectors: OrderedDict[int, Tensor] = OrderedDict()
        self._held, self._tidied = 0, -TIDY_SECONDS
        model, own = self.gallery.model, self._people and self._people.chain.embedder.id
        if model is not None and own is not None and model != own:
            raise BadData(
                f"the gallery of {user.name} keeps faces of model {model!r}, and --faces is {own!r}: start with the "
                "model that it was begun with."
            )

    def close(self) -> None:
        """End the connections."""
        self.photos.close()
        self.gallery.close()

    # --- what is seen ------------------------------------------------------------------------------------------

    def picture(self, photo: Photo) -> Tensor:
        """The pixels of a photo, uint8 [C, H, W].

        Raises:
            Gone: it was deleted meanwhile.
            BadData: its file is damaged.
        """
        path = self.photos.file(photo.id)
        try:
            return read_picture(path)
        except BadData as error:
            if not path.exists():
                raise Gone(f"{photo.name} was deleted meanwhile.") from error
            raise BadData(str(error).replace(str(path), photo.name)) from error

    def keep(self, photo: Photo, sight: Sight) -> None:
        """Keep what was seen in a photo, and who is in it."""
        with self._in_step:
            self._remember(photo.place, [face.vector for face in sight.found])
            self.photos.seen(photo.place, sight, self._alike([Vector(face.vector) for face in sight.found]))

    def documents(self, photos: Sequence[Photo], short: bool = False) -> list[dict[str, Any] | None]:
        """Sights as JSON, people with the names they have now.

        Args:
            photos: any; one that was not looked at has no sight.
            short: without what only the page of a single photo draws.
        """
        names = {person.id: person.name for person in self.people()}
        likenesses = self.photos.likenesses([photo.place for photo in photos])
        return [
            None if photo.sight is None else with_names(photo, likenesses.get(photo.place, {}), names, short)
            for photo in photos
        ]

    def named_like(self, word: str) -> list[int]:
        """People whose name has a word in it."""
        asked = searched(word)
        return [
            person.id
            for person in self.people()
            if any(asked in searched(name) for name in (person.name or "", *person.also))
        ]

    def catch_up(self, look: Callable[[Sequence[Tensor]], list[Sight]]) -> bool:
        """Look at one photo that was not, or compare the faces of one with the gallery as it is now; whether one was.

        Args:
            look: pictures to sights.
        """
        self.tidy()
        photo = self.photos.undone()
        if photo is None:
            return False
        picture = self.picture(photo)
        if photo.sight is None:
            self.keep(photo, look([picture])[0])
            return True
        vectors = [face.vector for face in self._found(picture)]
        with self._in_step:
            self._remember(photo.place, vectors)
            self.photos.compared(photo.place, self._alike([Vector(vector) for vector in vectors]))
        return True

    def tidy(self) -> None:
        """What time brings: whose consent has ended is forgotten, and erasures are finished that could not be."""
        now = time.monotonic()
        if now < self._tidied + TIDY_SECONDS:
            return
        self._tidied = now
        try:
            today = date.today()
            ended = self.gallery.expired(today)
            if ended:
                with self._changing():
                    self.gallery.purge(today)
                    for person in ended:
                        self.photos.unlink(person.id)
                LOG.warning("%d consents of %s's gallery have ended: forgotten", len(ended), self.user.name)
            self.gallery.finish_erasing()
            self.photos.finish_erasing()
        except BadData as error:
            LOG.error("%s's folder could not be tidied: %s", self.user.name, error)

    # --- who it is ---------------------------------------------------------------------------------------------

    def people(self) -> list[Person]:
        """Everybody with a name, whose consent stands."""
        today = date.today()
        return [person for person in self.gallery.people(named=True) if person.agrees(today)]

    def enroll(self, photo: Photo, number: int, name: str, consent: Consent) -> Person:
        """Put a face of a photo to a name; where that person's consent stands, it stays the one on record.

        Raises:
            BadOption: there is no such face, or the gallery does not take the consent.
            BadData: the face is not found any more, or is another person's.
        """
        told = (photo.sight or {}).get("faces") or []
        if not 1 <= number <= len(told):
            raise BadOption(f"face {number}: the photo shows {len(told)}, numbered from 1 on.")
        picture = self.picture(photo)
        found = self._found(picture)
        box = torch.tensor([told[number - 1]["box"]])
        overlaps = box_iou(torch.tensor([face.box for face in found]).reshape(-1, 4), box)[:, 0]
        if not len(found) or float(overlaps.max()) < SAME_BOX or self._people is None:
            raise BadData("this face is not found any more, as the nets are others now: send the photo again.")
        path = self.photos.file(photo.id)
        source = replace(PhotoSource.of(path, (photo.height, photo.width)), path=photo.id)
        face = new_face(source, picture, found[int(overlaps.argmax())], self._people.chain)
        known = {person.name for person in self.gallery.people(named=True)}
        standing = clean_name(name) in known - {person.name for person in self.gallery.expired()}
        with self._changing():
            model = self._people.chain.embedder.id
            return self.gallery.enroll(name, [face], model, None if standing else consent).person

    def merge(self, person: int, into: int) -> Person:
        """Two are one.

        Raises:
            BadData: one of them is not here.
            BadOption: they are one already.
        """
        with self._changing():
            done = self.gallery.merge(person, into)
            self.photos.unlink(person, done.id)
            return done

    def split(self, person: int, faces: Sequence[int], name: str, consent: Consent | None) -> Person:
        """Some of a person's faces are somebody else's.

        Raises:
            BadData: one of the faces is not that person's.
            BadOption: no consent for a new name.
        """
        own = {face.id for face in self.gallery.faces(person)}
        strange = [face for face in faces if face not in own]
        if strange:
            raise BadData(f"face {strange[0]} is not one of person {person}'s: load the page again.")
        with self._changing():
            return self.gallery.split(faces, name, consent)

    def forget(self, person: int) -> tuple[Erased, list[str]]:
        """Erase somebody for good; what was erased, and the ids of photos that still show their face.

        Raises:
            BadData: nobody has that id, or no longer.
        """
        with self._changing():
            ids = [person, self.gallery.person(person).id]
            erased = self.gallery.forget(person)
            photos = [photo for id in dict.fromkeys(ids) for photo in self.photos.unlink(id)]
            return erased + Erased(finished=self.photos.finish_erasing()), photos

    def erase(self, face: int) -> Erased:
        """Erase one face for good.

        Raises:
            BadData: there is none, or no longer.
        """
        with self._changing():
            return self.gallery.erase([face])

    def undo(self) -> Undone:
        """Take back the last step.

        Raises:
            BadData: there is none.
        """
        with self._changing():
            return self.gallery.undo()

    def faces(self, person: Person) -> list[tuple[KeptFace, str | None]]:
        """Somebody's faces, each with the id of its photo, if that is still here."""
        kept = self.gallery.faces(person.id)
        here = self.photos.here([face.photo.path for face in kept])
        return [(face, face.photo.path if face.photo.path in here else None) for face in kept]

    def faces_from(self, photo: str) -> int:
        """How many faces of a photo are kept in the gallery."""
        return sum(face.photo.path == photo for one in self.people() for face in self.gallery.faces(one.id))

    # --- in step -----------------------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """A change of the gallery, after which photos are compared with it again.

        What waits for it is written down before, so that nobody who is stopped in between leaves a photo behind.

        Raises:
            IsotrainError: the gallery refused it, and all is as it was.
        """
        with self._in_step:
            outdated = self.photos.outdate()
            try:
                yield
            except IsotrainError:
                self.photos.current(outdated)
                raise
            for place in self.photos.stale():
                vectors = self._vectors.get(place)
                if vectors is not None:
                    self.photos.compared(place, self._alike([Vector(vector) for vector in vectors]))

    def _alike(self, faces: Sequence[Vector]) -> list[Likeness]:
        """Who faces are, as far as the gallery knows."""
        if self._people is None or self.gallery.model is None:
            return [Likeness(None, None, None)] * len(faces)
        people = self._people
        least = threshold_of(people.calibration, None, FAR, str(people.embedder.name))
        found = recognise(self.gallery, faces, people.chain.embedder.id, least, people.calibration)
        return [
            Likeness(None, None, None)
            if one.hit is None or one.hit.person is None
            else Likeness(one.hit.person.id, round(one.hit.similarity, 4), one.probability)
            for one in found
        ]

    def _found(self, picture: Tensor) -> list[Any]:
        if self._people is None:
            raise BadOption("this server looks at no faces: start it without --faces none.")
        with torch.inference_mode():
            return from_left(self._people.chain.look([picture])[0])

    def _remember(self, place: int, vectors: Sequence[Tensor]) -> None:
        if not vectors:
            return
        self._forget_vectors(place)
        self._vectors[place] = torch.stack(list(vectors)).clone()
        self._held += len(vectors)
        while self._held > REMEMBERED:
            self._forget_vectors(next(iter(self._vectors)))

    def _forget_vectors(self, place: int) -> None:
        self._held -= len(self._vectors.pop(place, ()))

    def delete(self, photo: Photo) -> int:
        """Remove a photo; how many faces of it stay in the gallery, until their person is forgotten.

        Raises:
            Gone: it is gone already.
        """
        with self._in_step:
            self._forget_vectors(photo.place)
            self.photos.delete(photo.id)
            self.photos.finish_erasing()
        return self.faces_from(photo.id)
