"""What a model's name means: an embedded base, a public checkpoint, a folder, a GGUF file, or a name on the hub."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from aha.checkpoints import dequantized, gguf_header, hub, public, runs
from aha.types import AhaError

ASSETS = Path(__file__).parents[1] / "assets"
EMBEDDED = {
    "tiny": ASSETS / "tiny-base",
    "countdown": ASSETS / "countdown-base",
    "world": ASSETS / "world-base",
}
"""Names of the bases that ship with the program."""
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".index.json")
OLD_HUB_NAMES = ("gpt2", "distilgpt2", "openai-gpt", "gpt2-medium", "gpt2-large", "gpt2-xl")
"""Models that the hub knows without an owner."""


def resolve(name: str) -> str:
    """A model's folder, or its name on the Hugging Face hub, for what a person calls it.

    A run's folder, or a stage's, means the model that it made last; GGUF files are converted at the first call. Raises
    AhaError, with the nearest name that there is, for what does not exist, is no checkpoint, or is on a hub that does
    not answer.
    """
    if name in EMBEDDED:
        return str(EMBEDDED[name])
    path = Path(name).expanduser()
    if path.is_dir() and name.strip():
        return str(_folder(name, path))
    if path.is_file():
        return str(_file(name, path))
    if name in public.PUBLIC:
        return str(_public(name))
    if _is_path(name):
        raise AhaError(f"No model at '{name}': there is no such folder or file.{_nearest_path(path)}")
    _refuse_slips(name)
    hub.check(name)
    return name


def _public(name: str) -> Path:
    if not public.gguf_path(name).exists():
        raise AhaError(
            f"'{name}' is {public.PUBLIC[name].what}, which is not here yet. Bring it first: aha fetch {name}"
        )
    return public.checkpoint(name)


# --- files and folders -----------------------------------------------------------------------------------


def _file(name: str, path: Path) -> Path:
    if gguf_header.is_gguf(path):
        return dequantized.checkpoint(path)
    if path.suffix == ".gguf":
        gguf_header.read(path)  # says what is wrong
    if path.name.endswith((*WEIGHTS, "config.json")):
        raise AhaError(f"'{name}' is one file of a checkpoint. Give its folder: {path.parent}")
    raise AhaError(
        f"'{name}' is a file, and no GGUF one: no model. Give a checkpoint's folder or a GGUF file."
    )


def _folder(name: str, path: Path) -> Path:
    if (stages := runs.stages_of(path)) is not None:
        return runs.last_model(name, path, stages)
    ggufs = sorted(path.glob("*.gguf"))
    weights = any(path.glob("*.safetensors")) or any(path.glob("*.bin"))
    if (path / "adapter_config.json").exists():
        raise _adapters(name, path)
    if ggufs and not weights:
        if len(ggufs) > 1:
            listed = ", ".join(file.name for file in ggufs[:5])
            raise AhaError(f"'{name}' holds {len(ggufs)} GGUF files: {listed}. Give one of them: {ggufs[0]}")
        return dequantized.checkpoint(ggufs[0])
    if not (path / "config.json").exists():
        raise AhaError(
            f"'{name}' is a folder without config.json: not a Hugging Face checkpoint.{_within(path)}"
        )
    return path


def _adapters(name: str, path: Path) -> AhaError:
    return AhaError(
        f"'{name}' holds adapters (adapter_config.json), not a whole model. Merge them into their base first: "
        f"peft.AutoPeftModelForCausalLM.from_pretrained({str(path)!r}).merge_and_unload()"
        ".save_pretrained('merged'), and save the tokenizer beside it."
    )


def _within(path: Path) -> str:
    """A checkpoint inside of a folder that is none, as of a run."""
    inside = sorted(path.glob("**/config.json"), key=lambda file: file.stat().st_mtime)
    inside = [file for file in inside if any(file.parent.glob("*.safetensors"))]
    if inside:
        return f" Did you mean '{inside[-1].parent}'?"
    if (path / "params.json").exists() or any(path.glob("*.pth")):
        return " Its weights are in their maker's own form: take the checkpoint for transformers."
    return ""


def _is_path(name: str) -> bool:
    first = name.split("/", 1)[0]
    return (
        name.count("/") > 1
        or name.startswith((".", "/", "~"))
        or name.lower().endswith(".gguf")
        or ("/" in name and Path(first).is_dir())
    )


def _nearest_path(path: Path) -> str:
    """What is most like the first part of a path that does not exist, and then whatever of it there is."""
    here = path
    while not here.parent.is_dir():
        here = here.parent
    close = _close(here.name, [entry.name for entry in here.parent.iterdir()])
    if not close:
        return ""
    folder = here.with_name(close)
    whole = folder / path.relative_to(here)
    return f" Did you mean '{whole if whole.exists() else folder}'?"


# --- names on the hub --------------------------------------------------------------------------------------


def _refuse_slips(name: str) -> None:
    """Raise AhaError for what can be no hub name, or is most likely a slip of the fingers in a nearer one."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise AhaError(
            f"'{name}' is no model: neither a folder, nor a file, nor a name on the hub.{_known()}"
        )
    if "/" in name or name in OLD_HUB_NAMES:
        return
    here = [entry.name for entry in Path().iterdir() if entry.is_dir()]
    run_names = (
        [entry.name for entry in Path("runs").iterdir() if entry.is_dir()] if Path("runs").is_dir() else []
    )
    if name in run_names:
        raise AhaError(f"No model '{name}'.{_within(Path('runs') / name) or f' There is a run runs/{name}.'}")
    close = _close(name, [*EMBEDDED, *public.PUBLIC, *here, *run_names])
    if close:
        raise AhaError(f"No model '{name}'. Did you mean '{close}'?{_known()}")


def _close(word: str, known: Sequence[str]) -> str:
    folded = {entry.casefold(): entry for entry in reversed(known)}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.5)
    return folded[near[0]] if near else ""


def _known() -> str:
    bases, brought = ", ".join(EMBEDDED), ", ".join(public.PUBLIC)
    return f" There are the embedded bases {bases}, and those that aha fetch brings: {brought}."
