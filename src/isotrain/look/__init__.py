"""One pass over a photo: what it shows, the objects in it, the people who consented to be known, and a caption.

    looker = Looker.of()                                  # the nets that come with isotrain
    (sight,) = looker.look([read_picture("photo.jpg")])
    sight.document(), draw(picture, sight)

Each part answers only for pictures like those it learned from, and says so where it does not.
"""

from isotrain.look.drawing import draw
from isotrain.look.looker import Looker
from isotrain.look.sight import Sight

__all__ = ["Looker", "Sight", "draw"]
