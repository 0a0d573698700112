"""Measures how the channels of Kokoro's voices are spread, on sentences of each voice's language.

``python -m engines.kokoro.calibrate VOICE...`` keeps what it measures beside the model; ``press`` makes the package's file of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from engines.base import EngineError
from engines.kokoro.files import cache_folder, digest, find_model, find_parts, find_voices, model_folder
from engines.kokoro.model import Kokoro
from engines.kokoro.phonemes import Espeak, phonemize
from engines.kokoro.runtimes import make
from engines.kokoro.statistics import BUCKETS, Moments, Pressed, bucket, write
from engines.kokoro.voices import Mixture, Styles

SENTENCES = {
    "en": (
        "Good morning, everybody.",
        "Is anyone at home?",
        "Thank you so much!",
        "She sells fresh bread at the corner shop.",
        "When does the next train to London leave?",
        "Please bring an umbrella, because it might rain.",
        "There were twelve people waiting outside the museum when its doors were finally opened.",
        "After the storm had passed, the villagers came out, looked at their broken fences, and began to repair what they could find.",
    ),
    "es": (
        "Buenos días a todos.",
        "¿Hay alguien en casa?",
        "¡Muchas gracias!",
        "Ella vende pan fresco en la tienda de la esquina.",
        "¿A qué hora sale el próximo tren para Madrid?",
        "Traiga un paraguas, por favor, porque puede llover.",
        "Había doce personas esperando delante del museo cuando por fin se abrieron las puertas.",
        "Cuando pasó la tormenta, los vecinos salieron, miraron las vallas rotas y empezaron a reparar lo que pudieron encontrar.",
    ),
    "fr": (
        "Bonjour à tout le monde.",
        "Il y a quelqu'un ?",
        "Merci beaucoup !",
        "Elle vend du pain frais au coin de la rue.",
        "À quelle heure part le prochain train pour Lyon ?",
        "Prenez un parapluie, s'il vous plaît, il va pleuvoir.",
        "Douze personnes attendaient devant le musée quand les portes se sont enfin ouvertes.",
        "Après l'orage, les habitants sont sortis, ont regardé leurs clôtures cassées et ont commencé à réparer ce qu'ils trouvaient.",
    ),
    "hi": (
        "आप सबको नमस्ते।",
        "क्या घर पर कोई है?",
        "बहुत बहुत धन्यवाद!",
        "वह नुक्कड़ की दुकान पर ताज़ी रोटी बेचती है।",
        "दिल्ली की अगली गाड़ी कितने बजे जाती है?",
        "कृपया छाता साथ लाइए, क्योंकि बारिश हो सकती है।",
        "जब दरवाज़े आख़िर खुले तब बारह लोग संग्रहालय के बाहर इंतज़ार कर रहे थे।",
        "तूफ़ान गुज़र जाने के बाद गाँव के लोग बाहर आए, टूटी हुई बाड़ देखी और जो मिला उसकी मरम्मत करने लगे।",
    ),
    "it": (
        "Buongiorno a tutti.",
        "C'è qualcuno in casa?",
        "Grazie mille!",
        "Vende pane fresco nel negozio all'angolo.",
        "A che ora parte il prossimo treno per Roma?",
        "Porti un ombrello, per favore, perché potrebbe piovere.",
        "C'erano dodici persone in attesa davanti al museo quando finalmente si aprirono le porte.",
        "Passata la tempesta, gli abitanti uscirono, guardarono i recinti rotti e cominciarono a riparare quello che trovavano.",
    ),
    "pt": (
        "Bom dia a todos.",
        "Tem alguém em casa?",
        "Muito obrigado!",
        "Ela vende pão fresco na loja da esquina.",
        "A que horas sai o próximo trem para São Paulo?",
        "Traga um guarda-chuva, por favor, porque pode chover.",
        "Havia doze pessoas esperando em frente ao museu quando as portas finalmente se abriram.",
        "Depois da tempestade, os moradores saíram, olharam as cercas quebradas e começaram a consertar o que encontravam.",
    ),
}
"""Short, middle and long ones, statements, questions and calls. Punctuation and length matter more than words."""
BY_LETTER = {"a": "en", "b": "en", "e": "es", "f": "fr", "h": "hi", "i": "it", "p": "pt"}


def measure(model: Kokoro, styles: Styles, id: str) -> tuple[Moments, ...]:
    """One for each bucket of length. ``model`` is of kind ``measuring``. Raises :exc:`KeyError` for a language without sentences."""
    mixture = Mixture.parse(id)
    measured = []
    for text in SENTENCES[BY_LETTER[mixture.letter]]:
        prepared = model.prepare(phonemize(text, mixture.letter), styles.style(mixture), 1.0)
        _, moments = model.measure(prepared)
        measured.append((prepared.frames, moments))
    return tuple(_pooled(measured))


def _pooled(measured: list[tuple[int, Moments]]) -> Iterator[Moments]:
    """A bucket without a sentence of its own takes those nearest in length."""
    for number in range(len(BUCKETS) + 1):
        near = min(abs(bucket(frames) - number) for frames, _ in measured)
        items = [item for item in measured if abs(bucket(item[0]) - number) == near]
        yield Moments.pool([moments for _, moments in items], [float(frames) for frames, _ in items])


def calibrate(ids: Sequence[str], folder: Path | None = None, cache: Path | None = None) -> Iterator[Path]:
    """Measures these voices (all that espeak-ng can read, when none are named), one after the other, and yields the file of each.

    Voices whose file is there already are passed over, so it can be broken off and begun again. Raises :exc:`EngineError`.
    """
    cache, target = cache or cache_folder(), model_folder(folder) / "statistics"
    model = find_model(folder, cache)
    runtime = make("onnxruntime", os.cpu_count() or 1)
    kokoro = Kokoro(find_parts(model, digest(model), "float32", "measuring", cache), runtime, runtime)
    styles = Styles(find_voices(folder, cache))
    Espeak.load()
    for id in ids or [id for id in styles.ids if id[0] in BY_LETTER]:
        path = target / f"{id}.npz"
        yield path if path.is_file() else write(target, id, measure(kokoro, styles, id))


def press(folder: Path, file: Path) -> None:
    """Makes one small file of all that was measured."""
    measured = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as kept:
            measured[path.stem] = [Moments(mean, variance) for mean, variance in zip(kept["mean"], kept["variance"], strict=True)]
    Pressed.of(measured).write(file)


def main(ids: Sequence[str]) -> int:
    try:
        for path in calibrate(ids):
            sys.stdout.write(f"{path}\n")
            sys.stdout.flush()
    except EngineError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
