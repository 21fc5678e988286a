"""The language-consistency reward: target-language words over all words of the chain of thought.

(DeepSeek-R1, arXiv 2501.12948.) What has no language is not counted: numbers, single letters, LaTeX
commands, ``sin`` and its kind, short acronyms. Code, math and URLs are left out too, unless they hold most of
the words: text must not become invisible by being wrapped in dollar signs.

Scripts are told apart by their characters. Languages that share a script are told apart a stretch at a time
by a ``Detector``: py3langid where it is installed (``pip install py3langid``), else short lists of
function words. ``language_mix`` looks at scripts only and is cheap enough to run on every rollout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Literal, Protocol
from unicodedata import normalize

from aha.chat import code_spans, parse
from aha.rewards.accuracy import given_up
from aha.types import AhaError, Problem, Reward, Rollout, Score

_SCRIPTS: dict[str, tuple[str, float, str]] = {
    # script: (characters, characters per word or 0 where spaces divide words, its languages, likeliest first)
    "latin": (
        "A-Za-zªºÀ-ÖØ-öø-ʯ\u0300-\u036fḀ-ỿＡ-Ｚａ-ｚ'’",
        0,
        "en fr de es pt it nl pl sv da no fi cs ro hu tr id vi "
        "af az bs ca cy et eu ga gl hr is lt lv ms sk sl sq sw tl",
    ),
    "han": ("\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af", 1.5, "zh ja"),
    "kana": ("\u3041-\u309f\u30a0-\u30ff\u31f0-\u31ff\uff66-\uff9f", 2, "ja"),
    "cyrillic": ("\u0400-\u052f'’", 0, "ru uk bg sr be kk mk mn"),
    "hangul": ("\u1100-\u11ff\u3130-\u318f\uac00-\ud7af", 0, "ko"),
    "arabic": (
        "\u0610-\u061a\u0620-\u065f\u066e-\u06d3\u06d5-\u06ef\u06fa-\u06ff\u0750-\u077f\u200c\u200d",
        0,
        "ar fa ur",
    ),
    "devanagari": ("\u0900-\u0963\u0971-\u097f\u200c\u200d", 0, "hi mr ne"),
    "greek": ("\u0370-\u03ff\u1f00-\u1fff", 0, "el"),
    "hebrew": ("\u0591-\u05f4", 0, "he"),
    "bengali": ("\u0980-\u09e5\u09f0-\u09fe", 0, "bn"),
    "tamil": ("\u0b80-\u0be5", 0, "ta"),
    "telugu": ("\u0c00-\u0c65", 0, "te"),
    "georgian": ("\u10a0-\u10ff", 0, "ka"),
    "armenian": ("\u0531-\u058f", 0, "hy"),
    "gurmukhi": ("\u0a01-\u0a65\u0a70-\u0a75\u200c\u200d", 0, "pa"),
    "gujarati": ("\u0a81-\u0ae5\u0af9-\u0aff\u200c\u200d", 0, "gu"),
    "oriya": ("\u0b01-\u0b65\u0b71\u200c\u200d", 0, "or"),
    "kannada": ("\u0c80-\u0ce5\u0cf1-\u0cf3\u200c\u200d", 0, "kn"),
    "malayalam": ("\u0d00-\u0d65\u0d7a-\u0d7f\u200c\u200d", 0, "ml"),
    "sinhala": ("\u0d81-\u0df4\u200c\u200d", 0, "si"),
    "ethiopic": ("\u1200-\u135f\u1380-\u1399", 0, "am"),
    "thai": ("\u0e01-\u0e4e", 4, "th"),
    "lao": ("\u0e81-\u0ec4\u0ec6-\u0ecd\u0edc-\u0edf", 4, "lo"),
    "khmer": ("\u1780-\u17d3\u17d7\u17dc\u200b", 5, "km"),
    "burmese": ("\u1000-\u103f\u1050-\u108f\u109a-\u109d", 5, "my"),
}
_LANGUAGES = {script: tuple(languages.split()) for script, (_, _, languages) in _SCRIPTS.items()}
_CORE_LATIN = _LANGUAGES["latin"][:18]  # the others are considered only where they are the target
_SCRIPT_OF = {code: script for script in reversed(_SCRIPTS) for code in _LANGUAGES[script]} | {"ja": "han"}
_NAMES = {"english": "en", "chinese": "zh", "cmn": "zh", "yue": "zh", "nb": "no", "nn": "no", "iw": "he"}
_TWINS = [
    {"id", "ms"},
    {"no", "da"},
    {"hr", "bs", "sl"},
    {"cs", "sk"},
    {"pt", "gl"},
    {"bg", "mk"},
    {"ru", "be"},
]
"""Languages too alike to be told apart in a few words: neither is held against a text in the other."""

_NEUTRAL = frozenset(
    ["sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "lg", "exp", "max", "min", "mod", "gcd", "lcm"]
    + ["lim", "det", "arg", "sqrt", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "argmax", "argmin"]
    + ["sgn", "sup", "deg", "rad", "dim", "ker", "var", "cov", "diag", "cis"]
)
# Letters that Unicode has for mathematics, of every style, raised and lowered.
_MATHEMATICAL = re.compile(
    "[\u02b0-\u02b8\u02e0-\u02e4\u1d2c-\u1d6a\u1d78\u1d9b-\u1dbf\u2071\u207f\u2090-\u209c\u2100-\u214f\u2c7c\u2c7d"
    "\U0001d400-\U0001d7ff]+"
)
# A product of a few Greek letters, without the accents of a word, and none of the short words of the language.
_GREEK_SYMBOLS = re.compile(
    r"(?!(?:και|του|της|των|τον|την|τις|τα|το|τη|να|σε|με|αν|θα|ας|απο|για|δεν)$)[Α-Ωα-ωϑϕϖϱϵ]+"
)
_LONGEST = 20  # words given to the detector at once: more would blur a change of language

# Numerals that are no digits: raised, lowered, circled, fractions.
_NUMERALS = "²³¹¼-¾\u2070\u2074-\u2079\u2080-\u2089\u2150-\u2189\u2460-\u249b\u24ea-\u24ff\u2776-\u2793"
_WORD = re.compile(
    r"\\[A-Za-z]+|</?\w{1,16}>|"  # LaTeX commands and tags, skipped: no group
    + "|".join(f"(?P<{script}>[{chars}]+)" for script, (chars, _, _) in _SCRIPTS.items())
    + f"|(?P<other>[^\\W\\d_{_NUMERALS}]+)"
)
_SENTENCE = re.compile(r"[.!?\n…:;。！？；：।]+")
_OPENER = re.compile(r"\$\$?|\\[\(\[]|\\begin\{|https?://\S+|www\.\S+")
_CLOSER = {"$$": "$$", "\\(": "\\)", "\\[": "\\]", "\\begin{": "\\end{"}


class Detector(Protocol):
    """Tells languages of one script apart."""

    shortest: int  # words it needs: shorter sentences are put together

    def detect(self, text: str, candidates: Sequence[str], target: str) -> str:
        """The candidate ``text`` is written in; in doubt ``target``, where that is one. ISO 639-1."""
        ...


# ------------------------------------------------------------------------------------------- the reward


def language_consistency(
    *,
    language: str | None = None,
    detector: Detector | Literal["auto", "langid", "words"] = "auto",
    min_words: float = 10.0,
    neutral: float | None = None,
) -> Reward:
    """Share, 0 to 1, of the words of each chain of thought that are in the target language.

    ``language``: ISO 639-1, or None for each problem's own. A completion without any thinking is read whole.
    Below ``min_words`` words (a Chinese word is taken as 1.5 characters) nothing can be said and the value is
    ``neutral``; None means the mean of the group's measured rollouts (1 if there are none), which pulls a
    group-relative advantage neither way. Rollouts the engine gave up on have no score.

    ``auto`` takes py3langid if it is installed and function words if not; name one of them where two machines
    must agree. Raises AhaError for a language it does not know.
    """
    told = get_detector(detector) if isinstance(detector, str) else detector

    def reward(problem: Problem, rollouts: Sequence[Rollout]) -> list[Score]:
        target = normalise_language(language or problem.language)
        scores = [given_up(rollout) or _measure(rollout, target, told, min_words) for rollout in rollouts]
        measured = [score.value for score in scores if score and score.value is not None]
        mean = sum(measured) / len(measured) if measured else 1.0
        value = mean if neutral is None else neutral
        return [score or Score(value, f"neutral: fewer than {min_words:g} words") for score in scores]

    return reward


def _measure(rollout: Rollout, target: str, detector: Detector, min_words: float) -> Score | None:
    parsed = parse(rollout.text, opened_think=rollout.opened_think)
    counts = count_words(rollout.text if parsed.think is None else parsed.think, target, detector)
    total = sum(counts.values())
    if total < min_words:
        return None
    others = {code: n for code, n in sorted(counts.items(), key=lambda item: -item[1]) if code != target}
    listed = ", ".join(f"{code} {n:.0f}" for code, n in others.items())
    return Score(
        counts.get(target, 0.0) / total, f"of {total:.0f} words not {target}: {listed}" if others else ""
    )


def normalise_language(language: str) -> str:
    """``en``, ``en-US``, ``zh_Hans`` or ``Chinese`` to an ISO 639-1 code. Raises AhaError if not known."""
    code = language.strip().lower().replace("_", "-").split("-")[0]
    code = _NAMES.get(code, code)
    if code not in _SCRIPT_OF:
        raise AhaError(f"unknown language {language!r}; known are: {', '.join(sorted(_SCRIPT_OF))}")
    return code


# ------------------------------------------------------------------------------------------- counting


def count_words(text: str, target: str, detector: Detector) -> dict[str, float]:
    """Words of ``text`` by language, code, math and URLs left out unless they hold most of the words."""
    prose = _count(strip_nonprose(text), target, detector)
    whole = _total(text)
    return prose if sum(prose.values()) >= whole / 2 else _count(text, target, detector)


def _total(text: str) -> float:
    return sum(_weight(script, word) for script, word in _words(text))


def _count(text: str, target: str, detector: Detector) -> dict[str, float]:
    counts: dict[str, float] = {}
    for script, words in _segments(text, detector.shortest):
        code = _language_of(script, words, target, detector)
        counts[code] = counts.get(code, 0.0) + sum(_weight(_script_of(w, script), w) for w in words)
    return counts


def _script_of(word: str, group: str) -> str:
    """Kana and Han stand in one group; a word of the group is of one of them."""
    return "kana" if group == "han" and _is_kana(word) else group


def _is_kana(word: str) -> bool:
    return "\u3041" <= word[0] <= "\u31ff" or "\uff66" <= word[0] <= "\uff9f"


def _words(text: str) -> Iterator[tuple[str, str]]:
    """(script, word) in order; Han, kana and Thai come as unbroken runs of several words."""
    for match in _WORD.finditer(text):
        script = match.lastgroup
        if script is None:
            continue
        word = match.group().strip("'’\u200c\u200d")
        if script == "other":
            script, word = _plain_letters("".join(c for c in word if c.isalpha()))
        if word and not _is_neutral(script, word):
            yield script, word


def _plain_letters(word: str) -> tuple[str, str]:
    """Unicode's letters of mathematics as the letters that they are: 𝑥 is x, ᵢ is i, ℝ is R; a word that
    is spelled with them is a word. Fractions and indices (¾, ²) have been left out before."""
    if not _MATHEMATICAL.fullmatch(word):
        return "other", word
    plain = normalize("NFKC", word)
    if len(plain) < 4:
        return "other", ""
    return ("latin" if plain.isascii() else "greek"), plain


def _is_neutral(script: str, word: str) -> bool:
    """No word of any language: the name of a variable or function, an acronym; "a" and "I" are lost too."""
    if script == "other":
        return False
    if script == "latin":
        return len(word) < 2 or word in _NEUTRAL or (len(word) <= 3 and word.isupper())
    return script == "greek" and len(word) < 4 and _GREEK_SYMBOLS.fullmatch(word) is not None


def _weight(script: str, word: str) -> float:
    """How many words a run of characters is."""
    per_word = _SCRIPTS[script][1] if script in _SCRIPTS else 0
    return len(word) / per_word if per_word else 1.0


def _segments(text: str, shortest: int) -> Iterator[tuple[str, list[str]]]:
    """Stretches of words of one script: a sentence each, short ones together, long ones in pieces."""
    done: dict[str, list[list[str]]] = {}
    pending: dict[str, list[str]] = {}
    for sentence in _SENTENCE.split(text):
        for script, word in _words(sentence):
            group = "han" if script == "kana" else script
            words = pending.setdefault(group, [])
            words.append(word)
            if len(words) >= max(_LONGEST, shortest):
                done.setdefault(group, []).append(pending.pop(group))
        for group in [g for g, words in pending.items() if g == "han" or len(words) >= shortest]:
            done.setdefault(group, []).append(pending.pop(group))
    for group, rest in pending.items():  # too short to say anything alone: they go with those before them
        if group in done:
            done[group][-1].extend(rest)
        else:
            done[group] = [rest]
    return ((group, words) for group, segments in done.items() for words in segments)


def _language_of(script: str, words: list[str], target: str, detector: Detector) -> str:
    if script == "han":
        return _chinese_or_japanese(words, target)
    if script not in _LANGUAGES:
        return "other"
    candidates = _candidates(script, target)
    if len(candidates) == 1:
        return candidates[0]
    return detector.detect(" ".join(words), candidates, target)


@cache
def _candidates(script: str, target: str) -> tuple[str, ...]:
    known = _CORE_LATIN if script == "latin" else _LANGUAGES[script]
    twins = {code for pair in _TWINS if target in pair for code in pair} - {target}
    own = (target,) if _SCRIPT_OF[target] == script and target not in known else ()
    return tuple(code for code in known if code not in twins) + own


def _chinese_or_japanese(words: list[str], target: str) -> str:
    """Japanese has kana in every sentence; a few characters without are left to a Japanese target."""
    length = sum(map(len, words))
    kana = sum(len(word) for word in words if _is_kana(word))
    if kana > 0.1 * length or (target == "ja" and length < 6):
        return "ja"
    return "zh"


def strip_nonprose(text: str) -> str:
    """``text`` without its code (backticks), math (dollars, ``\\( \\[ \\begin``) and URLs. Linear: a closing
    mark that is not found once is not searched again."""
    text = _cut(text, code_spans(text)) if "`" in text else text
    return _cut(text, _math_and_urls(text))


def _cut(text: str, spans: Sequence[tuple[int, int]] | Iterator[tuple[int, int]]) -> str:
    kept, at = [], 0
    for start, end in spans:
        kept.append(text[at:start])
        at = end
    return " ".join([*kept, text[at:]])


def _math_and_urls(text: str) -> Iterator[tuple[int, int]]:
    missing: set[str] = set()
    at = 0
    while match := _OPENER.search(text, at):
        mark, start, at = match.group(), match.start(), match.end()
        if mark == "$":
            end = _dollar_end(text, at)
        elif mark in _CLOSER:
            end = _closing(text, at, _CLOSER[mark], missing)
        else:
            end = at  # a URL, which the pattern took whole
        if end is not None:
            yield start, end
            at = end


def _closing(text: str, start: int, closer: str, missing: set[str]) -> int | None:
    if closer in missing:
        return None
    at = text.find(closer, start)
    if at < 0:
        missing.add(closer)
        return None
    end = at + len(closer)
    return end if closer != "\\end{" else text.find("}", end, end + 32) + 1 or end


def _dollar_end(text: str, start: int) -> int | None:
    """The end of math that a single dollar opens: on the same line, no space inside the dollars ("$5 and $6"
    is money). The next search begins at the next dollar at the latest, so this stays linear."""
    at = text.find("$", start)
    if at <= start or text[start].isspace() or text[at - 1].isspace() or "\n" in text[start:at]:
        return None
    return at + 1


# ------------------------------------------------------------------------------------------- every rollout


@dataclass(frozen=True, slots=True)
class LanguageMix:
    """Which languages a text is in, by its scripts alone."""

    shares: dict[str, float]  # by language, of all words; empty if there are no words
    mixed: bool


def language_mix(text: str, language: str = "en", *, threshold: float = 0.1) -> LanguageMix:
    """How much of ``text`` is written in another script than ``language`` uses: a metric for every rollout.

    No detector: words of the target's script count as the target's, those of another as of its likeliest
    language (Latin: English). ``mixed`` if more than ``threshold`` of the words are not the target's.
    """
    target = normalise_language(language)
    counts: dict[str, float] = {}
    for script, word in _words(strip_nonprose(text) if "$" in text or "\\" in text or "`" in text else text):
        counts[script] = counts.get(script, 0.0) + _weight(script, word)
    total = sum(counts.values())
    japanese = target == "ja" or counts.get("kana", 0.0) > counts.get("han", 0.0) / 5
    shares: dict[str, float] = {}
    for script, count in counts.items():
        code = _likeliest(script, target, japanese)
        shares[code] = shares.get(code, 0.0) + count / total
    return LanguageMix(shares, mixed=bool(shares) and 1 - shares.get(target, 0.0) > threshold)


def _likeliest(script: str, target: str, japanese: bool) -> str:
    if script in ("han", "kana"):
        return "ja" if japanese or script == "kana" else "zh"
    if script == _SCRIPT_OF[target]:
        return target
    return _LANGUAGES[script][0] if script in _LANGUAGES else "other"


# ------------------------------------------------------------------------------------------- detectors


def get_detector(name: Literal["auto", "langid", "words"]) -> Detector:
    """A detector by name. Raises AhaError where ``langid`` is asked for and not installed."""
    if name not in ("auto", "langid", "words"):
        raise AhaError(f"unknown language detector {name!r}; use auto, langid or words")
    installed = find_spec("py3langid") is not None
    if name == "langid" and not installed:
        raise AhaError("detector=langid needs py3langid: pip install py3langid")
    return LangidDetector() if installed and name != "words" else FunctionWords()


class LangidDetector:
    """py3langid, asked for the likeliest candidate. Another language must be clearly likelier than the
    target, by ``margin`` nats, and the function words must not speak for the target: a false alarm on a
    short stretch costs a reward that the model earned. On the shortest the function words decide alone."""

    shortest = 5

    def __init__(self, margin: float = 4.0) -> None:
        self.margin = margin

    def detect(self, text: str, candidates: Sequence[str], target: str) -> str:
        if text.count(" ") + 1 < self.shortest:
            return FunctionWords().detect(text, candidates, target)
        from py3langid import rank  # pyright: ignore[reportMissingImports]  # loads its model at the first call

        scores = {code: float(score) for code, score in rank(text) if code in candidates}
        best = max(scores, key=scores.__getitem__, default=candidates[0])
        if best == target or target not in scores:
            return best
        if scores[best] - scores[target] < self.margin:
            return target
        hits = word_hits(text, (best, target))
        return target if hits[target] > hits[best] else best


class FunctionWords:
    """Counts each language's commonest short words. Needs nothing; blind to stretches without any of them."""

    shortest = 10

    def detect(self, text: str, candidates: Sequence[str], target: str) -> str:
        hits = word_hits(text, candidates)
        best = max(hits, key=hits.__getitem__)
        return target if hits.get(target, -1) >= hits[best] else best


def word_hits(text: str, codes: Sequence[str]) -> dict[str, int]:
    """How many of each language's commonest words stand in a text."""
    words = text.lower().replace("’", "'").split()
    return {code: sum(word in _FUNCTION_WORDS.get(code, ()) for word in words) for code in codes}


_WORD_LISTS = """
en the of and to in is that it for was on are as with be this have from or had by but not what all were we
en when your can there an which their if will so then than them these let's now it's how
fr le la les des du un une et est en que qui dans pour pas sur plus par ce cette avec sont nous vous il elle
fr mais ou où donc alors au aux être si ont son sa ses on c'est d'où puis leur comme
de der die das und ist in den von zu mit sich des auf für nicht ein eine als auch es an werden aus er hat
de dass sie nach wird bei einer um am sind noch wie einem über wir dann also wenn ich aber oder
es el la los las de del que en un una es por con para no se lo su al más como pero sus le ya este sí porque
es esta entonces son está también muy hay donde si cuando nos tenemos
pt os as de do da dos das que em um uma por com para não se na no mais como mas ao ele seu sua ou ser quando
pt muito há nos já está também então são nós temos pelo pela isso
it il lo la gli le di del della dei che in un una per con non si da sono come più ma anche al alla nel nella
it ci questo questa quindi se dove allora ha perché abbiamo poi delle
nl de het een en van in is dat op te zijn met voor niet aan er om ook als dan maar bij of uit nog naar wordt
nl door dus we hebben deze dit wij ze kan kunnen moet wat hoe
pl na do się nie to że jest jak po co za od ale dla przez czy są tak już tym więc mamy być tego oraz lub ma
pl które który wtedy jeśli możemy
sv och att det som en på är av för med till den har de inte om ett man men var sig så vi från kan när nu
sv också eller då här alltså måste detta två
da og at det som en på er af for med til den har de ikke om et man men var sig så vi fra kan når nu også
da eller da her altså skal vil jeg hvis
no og det som en på er av for med til den har de ikke om et man men var seg så vi fra kan når nå også eller
no da her altså skal vil jeg hvis
fi ja on ei se että oli joka mutta kun niin myös ovat tai jos sen hän tämä mitä ole kuin nyt vain voi sitten
fi tämän joten meillä siis tästä saadaan
cs na se že je to do jako pro za by ale od po jsou tak které který není nebo co už jsme být má také tedy
cs protože pak když máme
ro și în de la cu pe care nu este un din că pentru sunt mai se ce dar sau dacă prin ca ale fi atunci deci
ro avem lui cum acest această
hu az és hogy nem is egy ez de meg van azt csak ha mint már el volt vagy lesz akkor tehát ami aki így mert
hu még ezt kell két
tr ve bir bu da de için ile çok olarak daha gibi olan ne var ama kadar sonra ya değil her en mi ise veya
tr şimdi eğer böylece olur iki
id yang dan di dari ini itu dengan untuk pada adalah tidak dalam akan ke juga ada atau oleh bisa sudah kita
id karena maka jadi jika sebuah dua saya lebih kami
ms yang dan di dari ini itu dengan untuk pada ialah tidak dalam akan ke juga ada atau oleh boleh kita kerana
ms maka jadi jika sebuah dua saya lebih kami
vi và của là có không được cho một các trong với những này để đã khi người ta vậy thì ra vì nên chúng số nếu
vi cũng hai đó sẽ từ
ru и в не на я что он с как это по но они к у мы из за то все так его же от о для был есть или если бы уже
ru при чтобы тогда значит равно два
uk і в не на я що він з як це по але вони до у ми із за то все так його же від для був є або якщо би вже при
uk щоб тоді отже дорівнює два та
bg и в не на аз че той с как това по но те към у ние от за то всички така го е или ако би вече при да тогава
bg следователно са се два
sr и у не на ја да он са као то по али они ка ми из за све тако га је или ако би већ при онда дакле су се два
ar في من على أن إلى هذا هذه التي الذي ما لا هو هي كان عن مع أو كل قد ثم إذا لذلك نحن لدينا و بين
fa در از که به را این است آن با برای و تا بر یک هم می شود ما اگر پس دارد یا دو خود
ur کے کی میں ہے اور سے کو کا کہ یہ نے پر ہیں اس تو بھی ہم اگر ایک نہیں تھا دو یا
hi के का की में है और से को पर यह कि हैं एक नहीं तो भी ने हम इस अगर या दो था कर
mr आणि आहे या ते च्या मध्ये हे की तर नाही पण आपण एक आहेत हा ही किंवा दोन जर
ne र छ को मा हो यो पनि लाई ले त्यो हामी भने एक दुई छन् वा यदि गर्न
"""


def _function_words(lists: str) -> dict[str, set[str]]:
    words: dict[str, set[str]] = {}
    for line in lists.strip().splitlines():
        code, *listed = line.split()
        words.setdefault(code, set()).update(listed)
    return words


_FUNCTION_WORDS = _function_words(_WORD_LISTS)
