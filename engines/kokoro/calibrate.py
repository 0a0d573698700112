"""Measures how the channels of Kokoro's voices are spread, on sentences of each voice's language, and hears whether it does them good.

What is measured is kept beside the model (``voicebooth models calibrate``); :func:`press` makes the package's file of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.base import EngineUnavailable, Pace
from engines.kokoro.files import cache_folder, digest, find_model, find_parts, find_voices, model_folder
from engines.kokoro.model import Kokoro
from engines.kokoro.phonemes import Espeak, can_read, phonemize
from engines.kokoro.runtimes import make
from engines.kokoro.statistics import BUCKETS, Measured, Moments, Pressed, bucket, read, write
from engines.kokoro.voices import DAMAGED, Mixture, Styles
from engines.windows import Floats

MOST_LEVEL = 3.0  # decibels, mean of two sentences: single ones stray by two either way, the mean of many lies within one
MOST_DISTANCE = 4.0  # decibels: a voice's own statistics give about 2, another voice's 9; at 5 listeners' marks begin to fall
SPECTRUM = 1024  # samples of a spectrum, 43 ms
FLOOR = 1e-3  # of the loudest: what is fainter is not compared

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
    "ja": (
        "皆さん、おはようございます。",
        "誰かいますか？",
        "どうもありがとうございます！",
        "彼女は角の店で焼きたてのパンを売っています。",
        "次の東京行きの電車は何時に出ますか？",
        "雨が降るかもしれないので、傘を持ってきてください。",
        "ようやく扉が開いたとき、博物館の前には十二人の人が待っていました。",
        "嵐が過ぎると、村の人たちは外に出て、壊れた垣根を眺め、見つけたものを少しずつ直し始めました。",
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
    "zh": (
        "大家早上好。",
        "有人在家吗？",
        "非常感谢你！",
        "她在街角的小店里卖新鲜的面包。",
        "下一班去北京的火车几点出发？",
        "请带一把雨伞，因为可能会下雨。",
        "博物馆的大门终于打开的时候，外面已经有十二个人在等候了。",
        "暴风雨过去以后，村民们走出家门，看着被吹坏的篱笆，开始动手修理他们能找到的一切东西。",
    ),
}
"""Short, middle and long ones, statements, questions and calls. Punctuation and length matter more than words."""
CHECKS: dict[str, tuple[str, ...]] = {
    "en": ("He opened the old window.", "The children were playing in the garden, while their mother read a long letter from her sister."),
    "es": ("Abrió la vieja ventana.", "Los niños jugaban en el jardín, mientras su madre leía una larga carta de su hermana."),
    "fr": (
        "Il ouvrit la vieille fenêtre.",
        "Les enfants jouaient au jardin, pendant que leur mère lisait une longue lettre de sa sœur.",
    ),
    "hi": ("उसने पुरानी खिड़की खोली।", "बच्चे बगीचे में खेल रहे थे, और उनकी माँ अपनी बहन की लंबी चिट्ठी पढ़ रही थी।"),
    "it": ("Aprì la vecchia finestra.", "I bambini giocavano in giardino, mentre la madre leggeva una lunga lettera di sua sorella."),
    "ja": ("彼は古い窓を開けました。", "子供たちが庭で遊んでいる間、母親は妹からの長い手紙を読んでいました。"),
    "pt": ("Ele abriu a velha janela.", "As crianças brincavam no jardim, enquanto a mãe lia uma longa carta da irmã."),
    "zh": ("他打开了那扇旧窗户。", "孩子们在花园里玩耍的时候，他们的母亲正在读姐姐寄来的一封长信。"),
}
"""One short and one long, none of them measured."""
BY_LETTER = {"a": "en", "b": "en", "e": "es", "f": "fr", "h": "hi", "i": "it", "j": "ja", "p": "pt", "z": "zh"}


def measure(model: Kokoro, styles: Styles, mixture: Mixture) -> Measured:
    """``model`` is of kind ``measuring``."""
    measured = []
    for text in SENTENCES[BY_LETTER[mixture.letter]]:
        prepared = model.prepare(phonemize(text, mixture.letter), styles.style(mixture), 1.0)
        _, moments = model.measure(prepared)
        measured.append((prepared.frames, moments))
    return pooled(measured)


def pooled(measured: Sequence[tuple[int, Moments]]) -> Measured:
    """Sentences, each with its frames, by length. A bucket without a sentence of its own takes those nearest in length."""
    lengths, moments = [], []
    for number in range(len(BUCKETS) + 1):
        near = min(abs(bucket(frames) - number) for frames, _ in measured)
        items = [item for item in measured if abs(bucket(item[0]) - number) == near]
        frames = [float(frames) for frames, _ in items]
        lengths.append(float(np.average(frames, weights=frames)))
        moments.append(Moments.pool([moments for _, moments in items], frames))
    return Measured(tuple(lengths), tuple(moments))


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What became of one voice."""

    id: str
    path: Path
    level: float
    """Decibels by which it is louder or softer than whole, mean of the sentences; 0 for one measured before."""
    distance: float
    """Decibels by which the spectra differ, mean of the sentences; 0 for one measured before."""

    @property
    def is_good(self) -> bool:
        return self.level <= MOST_LEVEL and self.distance <= MOST_DISTANCE


def calibrate(ids: Sequence[str], folder: Path | None = None, cache: Path | None = None, *, again: bool = False) -> Iterator[Calibrated]:
    """Measures these voices or mixtures (all whose language can be read here, when none are named), and yields each when it is done.

    Those that were measured before are only yielded, unless ``again``; so it can be broken off. Three quarters of a minute a voice on two
    cores. Raises :exc:`EngineError`.
    """
    cache, target = cache or cache_folder(), model_folder(folder) / "statistics"
    model = find_model(folder, cache)
    key, runtime = digest(model), make("onnxruntime", os.cpu_count() or 1)
    measuring, streaming = (Kokoro(find_parts(model, key, "float32", kind, cache), runtime, runtime) for kind in ("measuring", "frozen"))
    styles = Styles(*find_voices(folder, cache))
    Espeak.load()
    for id in ids or [id for id in styles.ids if can_read(id[0])]:
        mixture = Mixture.parse(id)
        path = target / f"{mixture.id}.npz"
        if path.is_file() and not again:
            yield Calibrated(id, path, 0.0, 0.0)
            continue
        measured = levelled(measure(measuring, styles, mixture), measuring, streaming, styles, mixture)
        pairs = list(both(measuring, streaming, styles, mixture, measured, CHECKS))
        levels, distances = ([differ(whole, streamed) for whole, streamed in pairs] for differ in (off, distance))
        done = Calibrated(id, path, abs(float(np.mean(levels))), float(np.mean(distances)))
        try:
            write(target, mixture.id, measured, good=done.is_good)
        except OSError as problem:
            raise EngineUnavailable(f"statistics cannot be kept in {target}: {problem}") from problem
        yield done


def levelled(measured: Measured, measuring: Kokoro, streaming: Kokoro, styles: Styles, mixture: Mixture) -> Measured:
    """With the gain that gives all sentences together the level that they have by their own statistics."""
    wholes, streamed = zip(*both(measuring, streaming, styles, mixture, measured, SENTENCES), strict=True)
    return replace(measured, gain=measured.gain + off(np.concatenate(streamed), np.concatenate(wholes)))


def both(
    measuring: Kokoro, streaming: Kokoro, styles: Styles, mixture: Mixture, measured: Measured, texts: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Floats, Floats]]:
    """Each text in the voice's language by its own statistics, and by these."""
    for text in texts[BY_LETTER[mixture.letter]]:
        prepared = measuring.prepare(phonemize(text, mixture.letter), styles.style(mixture), 1.0)
        flow = streaming.flow(prepared, measured, Pace())
        yield measuring.measure(prepared)[0], flow.pull(0, flow.columns).ravel()


def off(whole: Floats, sound: Floats) -> float:
    """Decibels by which it is louder than the whole."""
    return level(sound) - level(whole)


def level(sound: Floats) -> float:
    """Decibels of full scale, RMS."""
    return float(10 * np.log10(np.mean(np.square(sound, dtype=np.float64)) + 1e-12))


def distance(one: Floats, other: Floats) -> float:
    """Decibels between the spectra of two sounds of equal length, root mean square over frequencies, mean over time."""
    spectra = [np.abs(_spectra(sound)) for sound in (one, other)]
    floor = FLOOR * spectra[0].max() + 1e-9
    ratio = 20 * np.log10(np.maximum(spectra[0], floor) / np.maximum(spectra[1], floor))
    return float(np.mean(np.sqrt(np.mean(np.square(ratio), axis=1))))


def _spectra(sound: Floats) -> npt.NDArray[np.complex128]:
    padded = np.pad(sound, (0, max(0, SPECTRUM - len(sound))))
    return np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, SPECTRUM)[:: SPECTRUM // 4] * np.hanning(SPECTRUM), axis=1)


def press(folder: Path, file: Path) -> int:
    """Makes one small file of all that was measured of single voices, and returns how many there are."""
    measured, worse = {}, []
    for path in sorted(folder.glob("*.npz")):
        if "+" in path.stem:
            continue
        with contextlib.suppress(*DAMAGED):
            measured[path.stem] = read(path)
            with path.open("rb") as content, np.load(content) as kept:
                if not kept.get("good", True):
                    worse.append(path.stem)
    if measured:
        Pressed.of(measured, worse).write(file)
    return len(measured)
