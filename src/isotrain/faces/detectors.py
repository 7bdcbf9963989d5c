"""What finds faces: isotrain's own net, scikit-image's cascade, or any detector in a file.

A face's box is a square in the sense of LFW: about the nose, 1.06 times the longer side of the box around the 68
landmarks. Detectors that were trained on tighter, taller boxes (YuNet, on WIDER FACE) have theirs brought to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from isotrain.data.pictures import in_channels
from isotrain.errors import BadCheckpoint, BadData, BadOption, MissingExtra, UnknownName
from isotrain.faces.parts import Detector, Found
from isotrain.nets.finder import STRIDES, Finder
from isotrain.tasks.finder import LONGEST, FindFaces
from isotrain.tasks.finds import SAME, distinct, placed, shrunk
from isotrain.train.rundir import load_run
from isotrain.vision.boxes import Letterbox

SHIPPED = Path(__file__).parent.parent / "weights" / "finder"
NAMES = ("shipped", "lbp")
SURE = 0.5
"""Score from which on a find is told of."""
LBP_SCALE, LBP_STEP = 1.2, 1
"""Factor between two sizes of the cascade's window, and its step in pixels of the smaller picture."""
LBP_SIDE = 1 / 1.065
"""Side of LFW's box in sides of the cascade's: median over 350 pictures of LFW."""
WIDER_TO_SQUARE = (0.99, -0.02)
"""Side of the square in roots of the area of a WIDER FACE box, and the way down to its centre in such roots.

Measured with CenterFace, which was trained on WIDER FACE: medians over 1481 pictures of LFW.
"""


def shipped(longest: int = LONGEST, least: float = SURE) -> Detector:
    """The detector that comes with isotrain.

    Args:
        longest: pixels along the longer side that larger pictures are brought to; faces from about 16 pixels there.
        least: score from which on a find is a face.
    """
    return OfRun(SHIPPED, longest, least, "shipped")


def detector_named(text: str, longest: int = LONGEST, least: float = SURE) -> Detector:
    """A detector by its name, its ONNX file or its run folder.

    Args:
        text: "shipped"; "lbp", scikit-image's cascade; an ONNX file of YuNet's layout or of a finder; a run folder of
            the task finder.
        longest: pixels along the longer side that larger pictures are brought to, where the file leaves that open.
        least: score from which on a find is a face.

    Raises:
        UnknownName: it is none of these.
        BadCheckpoint: the folder holds no run, or one of another task.
        BadData: the ONNX file cannot be read, or gives something else.
        MissingExtra: scikit-image or onnxruntime is not installed.
        BadOption: `longest` or `least` is outside its range.

    >>> detector_named("shipped").name
    'shipped'
    """
    if longest < 32:
        raise BadOption(f"longest={longest} must be 32 pixels or more.")
    if not 0 < least < 1:
        raise BadOption(f"least={least:g} must be a score between 0 and 1.")
    if text == "shipped":
        return shipped(longest, least)
    if text == "lbp":
        return Cascade(longest)
    path = Path(text)
    if path.is_dir():
        return OfRun(path, longest, least)
    if path.suffix == ".onnx":
        return OfOnnx(path, longest, least)
    raise UnknownName("detector", text, (*NAMES, "a run folder", "a file.onnx"))


class OfRun:
    """A finder that was trained by isotrain.

    Args:
        run: its folder.
        longest: pixels along the longer side that larger pictures are brought to.
        least: score from which on a find is a face.
        name: of the detector; by default the folder's.

    Raises:
        BadCheckpoint: the folder holds no run, or one of another task.
    """

    def __init__(self, run: Path, longest: int = LONGEST, least: float = SURE, name: str = "") -> None:
        task, net, card = load_run(run)
        if not isinstance(task, FindFaces) or not isinstance(net, Finder):
            raise BadCheckpoint(
                f"{run} holds a run of the task {card['task']}: a detector is a run of the task finder."
            )
        self.name = name or run.name
        self.longest, self.least = longest, least
        self._task, self._net = task, net.folded()

    def find(self, pictures: Sequence[Tensor]) -> list[Found]:
        """The faces of pictures uint8 [C, H, W] of any sizes; those of one size are looked through together."""
        found = self._task.find(self._net, pictures, self.longest, self.least)
        return [Found(one.boxes, one.scores) for one in found]


class Cascade:
    """scikit-image's cascade of local binary patterns: frontal faces, upright, no score but how often it was found.

    Args:
        longest: pixels along the longer side that larger pictures are brought to.

    Raises:
        MissingExtra: scikit-image is not installed.

    Source: Liao et al. 2007, "Learning multi-scale block local binary patterns for face recognition".
    """

    name = "lbp"

    def __init__(self, longest: int = LONGEST) -> None:
        try:
            data, feature = import_module("skimage.data"), import_module("skimage.feature")  # in part without types
        except ImportError as error:
            raise MissingExtra(
                "the detector lbp is scikit-image's, which is not installed: pip install 'isotrain[faces]'."
            ) from error
        self.longest = longest
        self._windows = feature.Cascade(data.lbp_frontal_face_cascade_filename())

    def find(self, pictures: Sequence[Tensor]) -> list[Found]:
        """The faces of pictures uint8 [C, H, W], one after the other."""
        return [self._find(picture) for picture in pictures]

    def _find(self, picture: Tensor) -> Found:
        from torchvision.ops import nms

        grey = shrunk(picture[None], self.longest)[0, 0]
        high, wide = grey.shape
        if min(high, wide) < 24:
            return nothing()
        windows = self._windows.detect_multi_scale(
            (grey * 255).byte().numpy(),
            scale_factor=LBP_SCALE,
            step_ratio=LBP_STEP,
            min_size=(16, 16),
            max_size=(min(high, wide),) * 2,
        )
        if not windows:
            return nothing()
        found = torch.tensor([[w["c"], w["r"], w["width"], w["height"]] for w in windows], dtype=torch.float32)
        boxes = squared(torch.cat([found[:, :2], found[:, :2] + found[:, 2:]], 1), LBP_SIDE, 0.0)
        scores = torch.full((len(boxes),), SURE)
        kept = nms(boxes, scores, SAME)
        height, width = picture.shape[1:]
        return Found(Letterbox(height, width, high, wide).back(boxes[kept]), scores[kept])


class OfOnnx:
    """A detector in an ONNX file: a finder exported by isotrain, or one of YuNet's layout.

    YuNet gives for each stride s of 8, 16, 32 `cls_s`, `obj_s` [1, a, 1], `bbox_s` [1, a, 4] (and `kps_s`): the score
    is the root of their product, the box's centre lies at (column + x, row + y) s, its sides are exp(w) s, exp(h) s. It
    takes colours in the order blue, green, red in [0, 255].

    Args:
        path: of the file.
        longest: pixels along the longer side that larger pictures are brought to, where the file leaves that open.
        least: score from which on a find is a face.

    Raises:
        BadData: the file cannot be read, or has other outputs.
        MissingExtra: onnxruntime is not installed.

    Source: of the layout, OpenCV 4.8, `FaceDetectorYN` (modules/objdetect); Wu et al. 2023, "YuNet: a tiny millisecond-
    level face detector".
    """

    def __init__(self, path: Path, longest: int = LONGEST, least: float = SURE) -> None:
        self.name, self.path = path.stem, path
        self.longest, self.least = longest, least
        self._session = session_of(path)
        outputs = {entry.name for entry in self._session.get_outputs()}
        self._yunet = {f"{kind}_{stride}" for kind in ("cls", "obj", "bbox") for stride in STRIDES} <= outputs
        if not self._yunet and not {"faces", "boxes"} <= outputs:
            raise BadData(
                f"{path} gives {', '.join(sorted(outputs)[:8])}: a detector gives cls_8, obj_8, bbox_8 ... as YuNet "
                "does, or faces and boxes as a finder exported by `isotrain export`."
            )
        entry = self._session.get_inputs()[0]
        self._input, shape = entry.name, list(entry.shape)
        if len(shape) != 4 or shape[1] not in (1, 3):
            raise BadData(f"{path} takes {shape}: a detector takes pictures [n, 1 or 3, height, width].")
        self._channels = int(shape[1])
        self._frame = (shape[2], shape[3]) if all(isinstance(side, int) for side in shape[2:]) else None

    def find(self, pictures: Sequence[Tensor]) -> list[Found]:
        """The faces of pictures uint8 [C, H, W], one after the other."""
        return [self._find(picture) for picture in pictures]

    def _find(self, picture: Tensor) -> Found:
        height, width = picture.shape[1:]
        high, wide = self._frame or _frame_of(height, width, self.longest)
        scores, boxes = [], []
        # A finder knows faces up to a third of its frame's side: larger ones are looked for in smaller copies.
        for part in (1,) if self._yunet else (1, 2, 4):
            fit = Letterbox(height, width, high // part, wide // part)
            found = self._run(_framed(in_channels(picture, self._channels), fit, high, wide))
            scores.append(found.scores)
            boxes.append(fit.back(found.boxes))
        box, score = torch.cat(boxes), torch.cat(scores)
        kept = distinct(box, score, self.least)
        return Found(box[kept], score[kept])

    def _run(self, frame_chw: Tensor) -> Found:
        """Everything a net says of one frame [c, h, w] in [0, 255], in its pixels."""
        if not self._yunet:
            faces, deltas = self._asked(["faces", "boxes"], frame_chw / 255)
            scores, boxes = placed(faces[0], deltas[0], *frame_chw.shape[1:])
            return Found(boxes, scores)
        names = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox") for stride in STRIDES]
        return yunet_decoded(dict(zip(names, self._asked(names, frame_chw.flip(0)), strict=True)), frame_chw.shape[2])

    def _asked(self, names: list[str], frame_chw: Tensor) -> list[Tensor]:
        try:
            given = self._session.run(names, {self._input: frame_chw[None].numpy()})
        except Exception as error:  # onnxruntime has a class for each status
            raise BadData(
                f"{self.path} does not run on a frame {list(frame_chw.shape)}: {str(error).splitlines()[0][:200]}"
            ) from error
        return [torch.from_numpy(output) for output in given]


def yunet_decoded(outputs: dict[str, Tensor], width: int) -> Found:
    """All that YuNet says of a frame, as squares in its pixels, not yet sorted.

    Args:
        outputs: cls_s, obj_s [1, a, 1] and bbox_s [1, a, 4] of each stride s.
        width: of the frame.
    """
    scores, boxes = [], []
    for stride in STRIDES:
        share = outputs[f"cls_{stride}"].flatten().clamp(0, 1) * outputs[f"obj_{stride}"].flatten().clamp(0, 1)
        deltas = outputs[f"bbox_{stride}"].reshape(-1, 4)
        place = torch.arange(len(deltas))
        columns = width // stride
        corner = torch.stack([place % columns, place // columns], 1)
        centre, half = (corner + deltas[:, :2]) * stride, deltas[:, 2:].exp() * stride / 2
        scores.append(share.sqrt())
        boxes.append(torch.cat([centre - half, centre + half], 1))
    return Found(squared(torch.cat(boxes), *WIDER_TO_SQUARE), torch.cat(scores))


def squared(boxes: Tensor, side: float, lower: float) -> Tensor:
    """Squares for boxes [k, 4]: `side` roots of the area wide, their centres lower by `lower` such roots.

    >>> squared(torch.tensor([[0.0, 0.0, 2.0, 8.0]]), 1.0, 0.25).tolist()
    [[-1.0, 3.0, 3.0, 7.0]]
    """
    root = (boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(1, keepdim=True).sqrt()
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + root * boxes.new_tensor([0.0, lower])
    return torch.cat([centre - root * side / 2, centre + root * side / 2], 1)


def nothing() -> Found:
    """No face."""
    return Found(torch.zeros(0, 4), torch.zeros(0))


def session_of(path: Path) -> Any:
    """An ONNX file, ready to run on one thread a core.

    Raises:
        BadData: it does not exist or cannot be read.
        MissingExtra: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra(
            f"{path.name} runs by onnxruntime, which is not installed: pip install 'isotrain[export]'."
        ) from error
    if not path.is_file():
        raise BadData(f"detector {path} does not exist.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is raised, too
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for each status
        raise BadData(f"detector {path} cannot be read: {str(error).splitlines()[0][:200]}") from error


def _frame_of(height: int, width: int, longest: int) -> tuple[int, int]:
    """Sides of the frame that a picture is shown in where the file leaves that open: multiples of 32."""
    scale = min(1.0, longest / max(height, width))
    return -(-max(1, round(height * scale)) // 32) * 32, -(-max(1, round(width * scale)) // 32) * 32


def _framed(picture: Tensor, fit: Letterbox, high: int, wide: int) -> Tensor:
    """The picture, floating, in the upper left of a black frame [c, high, wide]."""
    shown = fit.picture(picture.float())
    return F.pad(shown, (0, wide - shown.shape[2], 0, high - shown.shape[1]))
