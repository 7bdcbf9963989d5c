"""The command `isotrain predict`: its words, and to whom they go.

Nothing heavy is imported here; see `isotrain.app.cli`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from isotrain.app import completing
from isotrain.app.telling import AsJson, tell

LENGTH, BEAM, PENALTY, N_BEST = 500, 5, 1.0, 1
"""Where nothing else is asked for."""


def predict(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="The folder that `isotrain train` left.", autocompletion=completing.runs),
    ],
    pictures: Annotated[list[Path] | None, typer.Argument(metavar="PICTURE", help="Files, or folders of them.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for drawings and predictions.json. [default: RUN/predictions]")
    ] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Residual nets: keep so many blocks.")] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Regions to look at: csv or COCO results json. [default: the task's own]")
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(min=1, help="Region nets: cut their fully connected layers down to this rank (truncated SVD)."),
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="`detect`: also the regions' feature vectors, as safetensors.")
    ] = False,
    prompt: Annotated[str | None, typer.Option(help="`characters`: the beginning of a text, to write on from.")] = None,
    length: Annotated[
        int | None, typer.Option(min=1, help="`characters`: how many to write, of any number. [default: 500]")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="`characters`: below 1 likelier, above bolder; 0 the likeliest. [default: 1]")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="`characters`: draw among so many of the likeliest.")] = None,
    seed: Annotated[int | None, typer.Option(help="`characters`: of the draws. [default: 0]")] = None,
    gates: Annotated[
        bool, typer.Option("--gates", help="`characters`: also draw what units and gates did meanwhile, gates.png.")
    ] = False,
    text: Annotated[list[str] | None, typer.Option(help="`translate`: a sentence. Repeatable.")] = None,
    file: Annotated[
        Path | None, typer.Option("--input", help="`translate`: a file of sentences, a line each; - for stdin.")
    ] = None,
    beam: Annotated[
        int | None, typer.Option(help="`translate`, `caption`: hypotheses followed at a time. [default: 5]")
    ] = None,
    length_penalty: Annotated[
        float | None,
        typer.Option(
            help="`translate`, `caption`: the power of their length that scores are divided by, 0 to 10. [default: 1]"
        ),
    ] = None,
    n_best: Annotated[
        int | None, typer.Option(help="`translate`, `caption`: so many of each, the best first. [default: 1]")
    ] = None,
    drawn: Annotated[
        bool | None,
        typer.Option(
            "--pictures/--no-pictures",
            help="`translate`: draw where the net looked. [default: of up to 8 sentences]",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a trained net says: of pictures, drawn on them and as JSON; of text, on stdout.

    Example: `isotrain predict runs/detect photo.jpg`

    Of a run of `localise` also regions.csv, regions for `train detect -o regions=FILE`.

    Captions: `isotrain predict runs/caption photo.jpg --n-best 3`

    Writing on, as it comes: `isotrain predict runs/characters --prompt "ROMEO:" --length 1000 --temperature 0.8`.
    Ctrl-C ends it with what there is, and exit code 130. With `--gates`, a picture of what units and gates did.

    Translating, a line each: `isotrain predict runs/translate --text "A dog runs."`, or `--input sentences.txt >
    translated.txt`.
    """
    from isotrain.app.answering import checked
    from isotrain.train.rundir import RunFolder

    task = RunFolder(run).card()["task"]
    search = (beam, length_penalty, n_best)
    given: dict[str, Any] = {
        "PICTURE...": pictures or [], "--out": out, "--depth": depth, "--regions": regions, "--rank": rank,
        "--features": features, "--prompt": prompt, "--length": length, "--temperature": temperature, "--top-k": top_k,
        "--seed": seed, "--gates": gates, "--text": text or [], "--input": file, "--beam": beam,
        "--length-penalty": length_penalty, "--n-best": n_best, "--pictures": drawn,
    }  # fmt: skip
    checked(str(run), task, given)
    if task == "characters":
        from isotrain.app.text_predict import write_on

        bold = 1.0 if temperature is None else temperature
        many, folder = LENGTH if length is None else length, (out or run / "predictions") if gates else None
        write_on(run, prompt or "", many, bold, top_k, seed or 0, as_json, folder)
    elif task == "translate":
        from isotrain.app.text_predict import translate

        translate(run, text or [], file, _search(*search), drawn, out, as_json)
    else:
        from isotrain.app.predict_command import How
        from isotrain.app.predict_command import predict as ask

        how = How(depth, rank, regions, features, None if search == (None, None, None) else _search(*search))
        tell(ask(run, pictures or [], out, how, quiet=as_json), "show_predictions", as_json)


def _search(beam: int | None, penalty: float | None, n_best: int | None) -> Any:
    from isotrain.tasks.sentences import Search

    several = N_BEST if n_best is None else n_best
    beams = max(BEAM, several) if beam is None else beam  # as many as are asked for must be followed
    return Search(beams, PENALTY if penalty is None else penalty, several)
