"""Greedy translation by onnxruntime beside torch's, piece for piece.

.venv/bin/isotrain export runs/translate
.venv/bin/python benchmarks/onnx_greedy.py runs/translate val.en.gz --sentences 100
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnxruntime
import torch
from torch.nn.utils.rnn import pad_sequence

from isotrain.data.text import BEGIN, END, PAD, UNKNOWN
from isotrain.data.textfiles import lines_of, read_utf8
from isotrain.nets.seq2seq import Translator
from isotrain.nets.writing import greedy
from isotrain.tasks.sentences import stepping
from isotrain.tasks.translate import Translate
from isotrain.train import onnx_greedy
from isotrain.train.rundir import load_run

LONGEST = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="of translate, exported")
    parser.add_argument("sentences_of", type=Path, metavar="FILE", help="a sentence a line")
    parser.add_argument("--sentences", type=int, default=100)
    asked = parser.parse_args()
    task, net, _ = load_run(asked.run)
    assert isinstance(task, Translate) and isinstance(net, Translator)
    lines = lines_of(read_utf8(asked.sentences_of))[: asked.sentences]
    source_bs = pad_sequence([torch.tensor([*task.source.encode(line), END]) for line in lines], True, PAD)
    with torch.no_grad():
        memory, state = net.decoder.begin(*net.encoder(source_bs))
        ours = greedy(stepping(net.decoder), (*memory, state), BEGIN, END, LONGEST, never=(PAD, BEGIN, UNKNOWN))
    encoder, decoder = (onnxruntime.InferenceSession(asked.run / name) for name in ("encoder.onnx", "decoder.onnx"))
    theirs = onnx_greedy.greedy(encoder, decoder, source_bs.numpy(), LONGEST)
    same = sum(one.symbols == other for one, other in zip(ours, theirs, strict=True))
    print(f"{same} of {len(lines)} sentences are the same, {sum(map(len, theirs))} pieces in all.")
    print("\n".join(f"{line} -> {task.target.decode(other)}" for line, other in zip(lines[:3], theirs, strict=False)))


if __name__ == "__main__":
    main()
