"""Generated twins of the kinds of data the tasks learn from: small, quick, and the same again from the same seed.

Sample i of a part (train, held out, test) hangs on the seed, the part and i alone, however many are asked for. Every
draw comes from the generator made of these.
"""

from isotrain.data.synthetic.caption import caption_of
from isotrain.data.synthetic.captioned import captioned_dataset
from isotrain.data.synthetic.clutter import clutter_dataset, clutter_digits
from isotrain.data.synthetic.coco import write_coco
from isotrain.data.synthetic.crowd import crowd_dataset
from isotrain.data.synthetic.faces import face_photo, face_picture, faces_dataset, write_people
from isotrain.data.synthetic.folders import write_folders
from isotrain.data.synthetic.grammar import grammar_dataset, grammar_text
from isotrain.data.synthetic.language import language_dataset
from isotrain.data.synthetic.scene import scene_dataset, scenes
from isotrain.data.synthetic.shape import SHAPES, shapes_dataset
from isotrain.data.synthetic.writing import write_captions, write_parallel, write_text

__all__ = [
    "SHAPES",
    "caption_of",
    "captioned_dataset",
    "clutter_dataset",
    "clutter_digits",
    "crowd_dataset",
    "face_photo",
    "face_picture",
    "faces_dataset",
    "grammar_dataset",
    "grammar_text",
    "language_dataset",
    "scene_dataset",
    "scenes",
    "shapes_dataset",
    "write_captions",
    "write_coco",
    "write_folders",
    "write_parallel",
    "write_people",
    "write_text",
]
