"""A checkpoint for the package ``kokoro``: the shapes that its decoder insists on, all else as small as can be, random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from engines.kokoro.phonemes import VOCABULARY
from engines.kokoro.torched import CONFIG, REPOSITORY, WEIGHTS
from engines.kokoro.voices import ROWS, WIDTH

SETTINGS = {
    "istftnet": {
        "upsample_kernel_sizes": [20, 12],
        "upsample_rates": [10, 6],
        "gen_istft_hop_size": 5,
        "gen_istft_n_fft": 20,
        "resblock_dilation_sizes": [[1, 3, 5]],
        "resblock_kernel_sizes": [3],
        "upsample_initial_channel": 512,  # as wide as the decoder
    },
    "hidden_dim": 512,  # the decoder's own convolutions take no other
    "style_dim": 128,
    "n_layer": 1,
    "max_dur": 6,  # frames of 25 ms a token, of which random weights take half
    "dropout": 0.0,
    "text_encoder_kernel_size": 5,
    "n_token": 178,
    "n_mels": 80,
    "plbert": {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 512,
        "num_hidden_layers": 1,
        "embedding_size": 16,
    },
    "vocab": VOCABULARY,
}


def make(folder: Path, *, seed: int = 1) -> Path:
    """Settings, weights and two voices in this folder."""
    import torch
    from kokoro import KModel

    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(SETTINGS), encoding="utf-8")
    torch.save({}, folder / WEIGHTS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = KModel(repo_id=REPOSITORY, config=str(folder / CONFIG), model=str(folder / WEIGHTS))
    parts = {name: {f"module.{key}": value for key, value in part.state_dict().items()} for name, part in model.named_children()}
    torch.save(parts, folder / WEIGHTS)  # as the author's are: saved from a model that was spread over cards
    for number, name in enumerate(("af_heart", "ff_siwis")):
        table = np.random.default_rng(number).normal(0, 0.3, (ROWS, WIDTH)).astype("<f4")
        table.tofile(folder / f"{name}.bin")
    return folder
