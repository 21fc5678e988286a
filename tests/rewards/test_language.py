"""Language consistency: 28 languages against each other, what is no word, and the cost."""

# ruff: noqa: E501

from __future__ import annotations

import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aha.rewards.language import (
    FunctionWords,
    LangidDetector,
    count_words,
    get_detector,
    language_consistency,
    language_mix,
    normalise_language,
    strip_nonprose,
)
from aha.types import AhaError, Finish, Problem, Rollout

SENTENCES = {
    "en": "Wait, let me check this again. First we add the two numbers, so the answer must be six.",
    "fr": "Attendez, vérifions encore. D'abord nous ajoutons les deux nombres, donc la réponse est six.",
    "de": "Moment, ich prüfe das. Zuerst addieren wir die beiden Zahlen, also ist die Antwort sechs.",
    "es": "Espera, voy a comprobarlo. Primero sumamos los dos números, entonces la respuesta es seis.",
    "pt": "Espere, vou verificar isso de novo. Primeiro somamos os dois números, então a resposta é seis.",
    "it": "Aspetta, controlliamo di nuovo. Prima sommiamo i due numeri, quindi la risposta è sei.",
    "nl": "Wacht, laat me dit controleren. Eerst tellen we de twee getallen op, dus het antwoord is zes.",
    "pl": "Czekaj, sprawdzę to jeszcze raz. Najpierw dodajemy dwie liczby, więc odpowiedź to sześć.",
    "sv": "Vänta, låt mig kontrollera detta igen. Först adderar vi de två talen, så svaret är sex.",
    "da": "Vent, lad mig kontrollere det igen. Først lægger vi de to tal sammen, så svaret er seks.",
    "fi": "Odota, tarkistan tämän uudelleen. Ensin laskemme kaksi lukua yhteen, joten vastaus on kuusi.",
    "cs": "Počkej, zkontroluji to ještě jednou. Nejprve sečteme dvě čísla, takže odpověď je šest.",
    "ro": "Stai, să verific încă o dată. Mai întâi adunăm cele două numere, deci răspunsul este șase.",
    "hu": "Várj, hadd ellenőrizzem újra. Először összeadjuk a két számot, tehát a válasz hat.",
    "tr": "Bekle, bunu tekrar kontrol edeyim. Önce iki sayıyı topluyoruz, bu yüzden cevap altı olur.",
    "id": "Tunggu, saya periksa ini lagi. Pertama kita jumlahkan dua bilangan, jadi jawabannya adalah enam.",
    "vi": "Khoan đã, để tôi kiểm tra lại. Trước hết ta cộng hai số, vậy câu trả lời là sáu.",
    "ru": "Подождите, проверим ещё раз. Сначала сложим два числа, значит ответ равен шести.",
    "uk": "Зачекайте, перевіримо ще раз. Спочатку додамо два числа, отже відповідь дорівнює шести.",
    "zh": "等等，让我再检查一遍。首先我们把两个数加起来，所以答案是六。",
    "ja": "待って、もう一度確認しましょう。まず二つの数を足すので、答えは六です。",
    "ko": "잠깐, 다시 확인해 보자. 먼저 두 수를 더하면 답은 육이다.",
    "ar": "انتظر، دعني أتحقق من هذا مرة أخرى. أولا نجمع العددين، إذن الجواب هو ستة.",
    "fa": "صبر کن، دوباره بررسی می‌کنم. ابتدا دو عدد را با هم جمع می‌کنیم، پس جواب شش است.",
    "hi": "रुको, मुझे इसे फिर से जाँचने दो। पहले हम दो संख्याओं को जोड़ते हैं, इसलिए उत्तर छह है।",
    "th": "เดี๋ยวก่อน ขอตรวจสอบอีกครั้ง ก่อนอื่นเราบวกเลขสองจำนวน ดังนั้นคำตอบคือหก",
    "el": "Περίμενε, ας το ελέγξω ξανά. Πρώτα προσθέτουμε τους δύο αριθμούς, άρα η απάντηση είναι έξι.",
    "he": "רגע, אבדוק את זה שוב. קודם נחבר את שני המספרים, ולכן התשובה היא שש.",
    "pa": "ਰੁਕੋ, ਮੈਨੂੰ ਇਹ ਦੁਬਾਰਾ ਜਾਂਚਣ ਦਿਓ। ਪਹਿਲਾਂ ਅਸੀਂ ਦੋ ਨੰਬਰ ਜੋੜਦੇ ਹਾਂ, ਇਸ ਲਈ ਜਵਾਬ ਛੇ ਹੈ।",
    "gu": "રાહ જુઓ, મને આ ફરીથી તપાસવા દો. પહેલા આપણે બે સંખ્યાઓ ઉમેરીએ છીએ, તેથી જવાબ છ છે.",
    "or": "ରୁହନ୍ତୁ, ମୁଁ ଏହାକୁ ପୁଣି ଯାଞ୍ଚ କରେ। ପ୍ରଥମେ ଆମେ ଦୁଇଟି ସଂଖ୍ୟା ମିଶାଉ, ତେଣୁ ଉତ୍ତର ଛଅ।",
    "kn": "ನಿಲ್ಲಿ, ನಾನು ಇದನ್ನು ಮತ್ತೊಮ್ಮೆ ಪರಿಶೀಲಿಸುತ್ತೇನೆ. ಮೊದಲು ನಾವು ಎರಡು ಸಂಖ್ಯೆಗಳನ್ನು ಕೂಡುತ್ತೇವೆ, ಆದ್ದರಿಂದ ಉತ್ತರ ಆರು.",
    "ml": "നിൽക്കൂ, ഞാൻ ഇത് വീണ്ടും പരിശോധിക്കട്ടെ. ആദ്യം നമ്മൾ രണ്ട് സംഖ്യകൾ കൂട്ടുന്നു, അതിനാൽ ഉത്തരം ആറ് ആണ്.",
    "si": "ඉන්න, මම මෙය නැවත පරීක්ෂා කරමි. මුලින්ම අපි සංඛ්‍යා දෙක එකතු කරමු, ඉතින් පිළිතුර හයයි.",
    "am": "ቆይ፣ ይህን እንደገና ላረጋግጥ። መጀመሪያ ሁለቱን ቁጥሮች እንደምራለን፣ ስለዚህ መልሱ ስድስት ነው።",
    "lo": "ລໍຖ້າ ໃຫ້ຂ້ອຍກວດເບິ່ງອີກຄັ້ງ ທຳອິດພວກເຮົາບວກສອງຕົວເລກ ດັ່ງນັ້ນຄຳຕອບແມ່ນຫົກ",
    "km": "រង់ចាំ ខ្ញុំពិនិត្យម្តងទៀត។ ដំបូងយើងបូកលេខពីរ ដូច្នេះចម្លើយគឺប្រាំមួយ។",
    "my": "ခဏစောင့်ပါ၊ ဒါကို ပြန်စစ်ကြည့်မယ်။ ပထမဆုံး ကျွန်တော်တို့ ကိန်းနှစ်ခုကို ပေါင်းတယ်၊ ဒါကြောင့် အဖြေက ခြောက်ဖြစ်တယ်။",
}
EN, FR, ZH = (SENTENCES[code] for code in ("en", "fr", "zh"))

langid = pytest.param(
    LangidDetector(), id="langid", marks=pytest.mark.skipif(not find_spec("py3langid"), reason="no py3langid")
)
detectors = pytest.mark.parametrize("detector", [pytest.param(FunctionWords(), id="words"), langid])


def share(text: str, target: str, detector=None) -> float:
    counts = count_words(text, target, detector or FunctionWords())
    return counts.get(target, 0.0) / sum(counts.values())


def rollout(text: str, *, opened: bool = False, finish: Finish = Finish.STOP) -> Rollout:
    nothing = np.zeros(0)
    return Rollout(nothing, nothing, nothing, text, finish, opened_think=opened)


def scores(*texts: str, language: str = "en", **options):
    problem = Problem("p", "math", (), language=language)
    return language_consistency(detector="words", **options)(problem, [rollout(text) for text in texts])


def values(*texts: str, **options) -> list[float | None]:
    return [score.value for score in scores(*texts, **options)]


class TestDetection:
    @detectors
    @pytest.mark.parametrize("target", SENTENCES)
    def test_every_language_is_told_from_every_other(self, target: str, detector):
        for code, text in SENTENCES.items():
            part = share(text, target, detector)
            assert part == float(code == target), (code, part)

    @detectors
    def test_a_change_of_language_between_sentences_is_seen(self, detector):
        assert 0.4 < share(EN + " " + FR, "en", detector) < 0.6
        assert 0.4 < share(EN + " " + FR, "fr", detector) < 0.65

    @detectors
    def test_in_doubt_the_words_are_the_targets(self, detector):
        for target in ("en", "fr", "id"):
            assert share("Alice 3, Bob 5, Total 8", target, detector) == 1.0

    def test_japanese_is_not_chinese_though_it_is_written_with_its_characters(self):
        assert share(SENTENCES["ja"], "ja") == 1.0
        assert share(SENTENCES["ja"], "zh") == 0.0
        assert share(ZH, "ja") == 0.0
        assert share("答え", "ja") == 1.0

    def test_languages_too_alike_are_not_held_against_each_other(self):
        assert share(SENTENCES["id"], "ms") == 1.0
        assert share(SENTENCES["da"], "no") == 1.0

    def test_a_script_that_no_listed_language_uses(self):
        assert share("ᎣᏏᏲ ᏙᎯᏧ ᏅᏩᏙᎯᏯᏛ", "en") == 0.0


class TestWords:
    @pytest.mark.parametrize(
        "symbols",
        [
            "xᵢ", "xᵢ²", "aₙ₊₁", "𝑥", "𝑥𝑦", "𝐴𝐵𝐶", "ℝ", "ℕ ⊂ ℤ ⊂ ℚ", "ℓ", "ℏ", "𝒩(μ, σ²)", "α", "αβ", "θφ", "ΔABC",
            "Σ Π Ω", "ϕ ϵ ϑ", "𝔼[X]", "sin 𝜃", "𝑠𝑖𝑛(𝑥)", "xʸ", "½ ¾ x³",
        ],
    )  # fmt: skip
    def test_letters_of_mathematics_are_no_words(self, symbols: str):
        english = "so that the answer is"
        assert count_words(f"{english} {symbols} and", "en", FunctionWords()) == {"en": 6.0}
        assert count_words(f"答案是 {symbols}", "zh", FunctionWords()) == {"zh": 2.0}
        assert language_mix(f"答案是 {symbols}", "zh").shares == {"zh": 1.0}

    def test_words_spelled_in_letters_of_mathematics_are_words(self):
        assert set(count_words("𝐝𝐨𝐧𝐜 𝐧𝐨𝐮𝐬 𝐚𝐯𝐨𝐧𝐬 𝐭𝐫𝐨𝐮𝐯𝐞 𝐥𝐚 𝐫𝐞𝐩𝐨𝐧𝐬𝐞", "en", FunctionWords())) == {"fr"}
        assert language_mix("άρα η απάντηση είναι έξι", "en").mixed
        assert share("Πρώτα και το", "el") == 1.0

    def test_a_chinese_word_is_taken_as_one_and_a_half_characters(self):
        assert count_words("我们把两个数加起来", "zh", FunctionWords()) == {"zh": 6.0}
        assert share("我们把两个数加起来 and then we check it again", "zh") == 0.5

    @pytest.mark.parametrize(
        "text",
        [
            "42",
            "x = y + 3",
            "sin x, gcd",
            "GCD ABC",
            "\\frac \\alpha",
            "<think> </think>",
            "λ",
            "½ ²",
            "",
            "'’'",
        ],
    )
    def test_what_is_no_word_of_any_language(self, text: str):
        assert count_words(text, "en", FunctionWords()) == {}

    @pytest.mark.parametrize(
        "noise",
        [
            "`for item in results`",
            "```python\nfor item in results: print(item)\n```",
            "$\\text{speed of light}$",
            "$$\\text{speed of light}$$",
            "\\(\\mathrm{total area}\\)",
            "\\[\\mathrm{total\narea}\\]",
            "\\begin{cases} first case \\end{cases}",
            "https://example.org/some/path?query=word",
            "www.example.org/page",
        ],
    )
    def test_code_math_and_urls_are_left_out(self, noise: str):
        assert share(f"{ZH} {noise}\n{ZH}", "zh") == 1.0
        assert strip_nonprose(f"a {noise}\nb").split() == ["a", "b"]

    def test_but_counted_where_they_hold_most_of_the_words(self):
        hidden = "$\\text{" + EN + "}$"
        assert share(f"好的。{hidden}", "zh") < 0.2
        assert share(f"好的。```\n{EN}\n```", "zh") < 0.2

    def test_money_is_not_math(self):
        assert strip_nonprose("It costs $5 and then $6 more") == "It costs $5 and then $6 more"
        assert strip_nonprose("from $a$ to $b$").split() == ["from", "to"]

    def test_what_never_closes_hides_nothing(self):
        for opener in ("```\n", "`", "$", "$$ ", "\\( ", "\\[ ", "\\begin{a} "):
            assert share(opener + EN, "zh") < 0.2


class TestReward:
    def test_the_share_of_the_chain_of_thought(self):
        good, other = f"<think>{EN}</think><answer>4</answer>", f"<think>{ZH}</think><answer>4</answer>"
        assert values(good, other) == [1.0, 0.0]
        assert values(good, other, language="zh") == [0.0, 1.0]
        assert values(f"<think>{EN}</think><answer>{ZH}</answer>") == [1.0]  # the answer is not thinking

    def test_the_note_says_which_other_languages(self):
        (score,) = scores(f"<think>{EN} {ZH}</think>")
        assert score.note == "of 35 words not en: zh 17"

    def test_thinking_that_the_prompt_opened_and_none_at_all(self):
        problem = Problem("p", "math", (), language="en")
        reward = language_consistency(detector="words")
        opened = rollout(f"{EN}</think>{ZH}{ZH}", opened=True)
        plain = rollout(EN)
        assert [score.value for score in reward(problem, [opened, plain])] == [1.0, 1.0]

    def test_below_the_floor_the_value_is_neutral(self):
        half = f"<think>{EN} 我们把两个数加起来我们把两个数加起来我们把两个数加起来</think>"
        short = "<think>六</think>"
        assert values(short) == [1.0]
        first, second = values(half, short)
        assert first == second == pytest.approx(0.5)
        assert values(half, short, neutral=0.25)[1] == 0.25
        assert scores(short)[0].note == "neutral: fewer than 10 words"
        assert values("<think>wrong words but long enough</think>", language="zh", min_words=5) == [0.0]

    def test_what_the_engine_gave_up_on_has_no_score(self):
        problem = Problem("p", "math", (), language="en")
        reward = language_consistency(detector="words")
        scores = reward(problem, [rollout(EN, finish=Finish.ERROR), rollout(EN)])
        assert [score.value for score in scores] == [None, 1.0]

    def test_languages_by_any_usual_name(self):
        for name, code in {"en": "en", "en-US": "en", "zh_Hans": "zh", "Chinese": "zh", "nb": "no"}.items():
            assert normalise_language(name) == code
        with pytest.raises(AhaError, match="unknown language 'tlh'"):
            values(EN, language="tlh")

    def test_detectors_by_name(self, monkeypatch: pytest.MonkeyPatch):
        assert isinstance(get_detector("words"), FunctionWords)
        monkeypatch.setattr("aha.rewards.language.find_spec", lambda name: None)
        assert isinstance(get_detector("auto"), FunctionWords)
        with pytest.raises(AhaError, match="pip install"):
            get_detector("langid")
        with pytest.raises(AhaError, match="unknown language detector"):
            get_detector("lingua")  # type: ignore[arg-type]


class TestMix:
    def test_shares_by_script(self):
        assert language_mix(EN, "en").shares == {"en": 1.0}
        assert language_mix(FR, "fr").shares == {"fr": 1.0}
        assert language_mix(ZH, "en").shares == {"zh": 1.0}
        assert language_mix("我们把两个数加起来 and then we check it again", "zh").shares == {
            "zh": 0.5,
            "en": 0.5,
        }
        assert language_mix(SENTENCES["ja"], "en").shares == {"ja": 1.0}
        assert language_mix(SENTENCES["ru"], "uk").shares == {"uk": 1.0}  # scripts only

    def test_mixed_is_more_than_a_tenth(self):
        assert not language_mix(EN, "en").mixed
        assert language_mix(EN, "zh").mixed
        assert language_mix(f"{EN} 我们把两个数加起来", "en").mixed
        assert not language_mix(f"{EN} 六", "en").mixed
        assert language_mix(f"{EN} 六", "en", threshold=0.01).mixed

    def test_without_words_nothing_is_mixed(self):
        for text in ("", "3 + 4 = 7", "<think>3*4=12</think><answer>12</answer>", "$x$"):
            assert language_mix(text, "zh") == language_mix("", "zh")
        assert language_mix("").shares == {}

    def test_it_is_cheap_and_needs_no_detector(self):
        text = f"<think>{EN}{ZH}</think><answer>6</answer>"
        start = time.thread_time()
        for _ in range(1000):
            language_mix(text, "zh")
        assert time.thread_time() - start < 3.0  # of 1,000: a thread that shares its core takes 0.5 s
        assert "py3langid" not in sys.modules or find_spec("py3langid")


PIECES = [
    "the ",
    "中",
    "の",
    "é",
    "$",
    "$$",
    "\\(",
    "\\)",
    "\\begin{",
    "\\end{",
    "`",
    "```",
    "\n",
    ".",
    "'",
    "www.",
    "<",
    "α",
]


class TestProperties:
    @settings(max_examples=200)
    @given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=80))
    def test_shares_are_shares(self, text: str):
        for code in ("en", "zh", "ja", "el"):
            counts = count_words(text, code, FunctionWords())
            assert all(count > 0 for count in counts.values())
            mix = language_mix(text, code)
            assert not mix.shares or sum(mix.shares.values()) == pytest.approx(1.0)

    @pytest.mark.parametrize(
        "unit", [*PIECES, "$a ", "`a` ", "http://", "中a", "a\u0301", "the cat sat ", "\\", "<a"]
    )
    def test_100_kb_of_anything_takes_a_moment(self, unit: str):
        text = unit * (100_000 // len(unit))
        start = time.thread_time()
        count_words(text, "en", FunctionWords())
        language_mix(text, "en")
        assert time.thread_time() - start < 3.0


REAL_LOOKING = [
    (
        "en",
        "Let 𝑓(𝑥) = 𝑥² and 𝑔(𝑥) = 𝑥₁ + 𝑥₂, so that 𝑓∘𝑔 is what we need, and ∑ᵢ aᵢ ≤ ∏ⱼ bⱼ for all 𝑖 ∈ ℕ, which gives the bound.",
    ),
    (
        "en",
        "Since ∠ABC = 90° and △ABC ∼ △DEF, we have |AB|/|DE| = k. The angle α+β+γ = π, hence sinα = cosβ, and the area is ½ab.",
    ),
    (
        "en",
        "We use the Cauchy–Schwarz inequality and then Hölder's; Erdős and Szekeres proved this in 1935, and Poincaré used it.",
    ),
    (
        "en",
        "Nguyen has 3 mangoes and Xiaoming gives him 4 more; then Priyanka, Oluwaseun and Giuseppe each take 1 of them in the end.",
    ),
    (
        "en",
        "Let's write a script: ```python\nfor i in range(9):\n    nombre = i * 2\n    print(nombre)\n``` This prints the even numbers, as we saw.",
    ),
    (
        "en",
        "In H₂O and CO₂ there are 2 and 1 bonds; Na⁺ and Cl⁻ form NaCl, Fe₂O₃ is rust, and the molar mass is about 18 g·mol⁻¹ in the end.",
    ),
    (
        "en",
        "The vectors 𝐯⃗ and 𝐰⃗ satisfy ‖𝐯 + 𝐰‖² = ‖𝐯‖² + ‖𝐰‖², so ⟨𝐯, 𝐰⟩ = 0 and they are orthogonal to each other in ℝⁿ by the theorem.",
    ),
    (
        "zh",
        "首先，我们有 sin²θ + cos²θ = 1，因此 tanθ = sinθ/cosθ，代入得到 θ = arctan(3/4)，答案约等于 36.87°。",
    ),
    (
        "zh",
        "因为 $\\triangle ABC$ 是直角三角形，$\\angle C = 90^\\circ$，由勾股定理得 $AB^2 = AC^2 + BC^2$，所以 AB = 5，周长为 12。",
    ),
    (
        "zh",
        "根据牛顿（Newton）和莱布尼茨（Leibniz）的公式，积分等于原函数在端点的差，所以我们直接计算即可得到结果。",
    ),
    (
        "zh",
        "水的化学式是 H₂O，二氧化碳是 CO₂，氯化钠是 NaCl，所以摩尔质量约为 18 g/mol，我们可以算出结果是两摩尔。",
    ),
    (
        "fr",
        "Soit 𝑥 ∈ ℝ tel que 𝑥² − 5𝑥 + 6 = 0 ; on a Δ = 1, donc 𝑥₁ = 2 et 𝑥₂ = 3, et la somme des deux racines est égale à cinq.",
    ),
    (
        "ru",
        "Пусть x — длина стороны, тогда периметр P = 4x, а площадь S = x². Из условия 4x = 20 получаем x = 5, значит площадь равна 25.",
    ),
    (
        "ja",
        "まず、f(x) = x² − 4x + 3 とおくと、f(x) = 0 の解は x = 1, 3 です。したがって、答えは四になります。確認しましょう。",
    ),
]
FOREIGN = [
    ("en", "首先我们设 x 为苹果的数量，那么三倍的 x 等于十二，所以 x 等于四，答案是四个苹果。"),
    ("en", "$\\text{首先我们设苹果的数量为未知数，然后列出方程，求解得到答案是四个苹果，验证正确}$"),
    (
        "en",
        "Wir setzen die Zahlen in die Gleichung ein und erhalten das Ergebnis, das wir suchten, nämlich vier Äpfel im Korb.",
    ),
    (
        "zh",
        "First we let x be the number of apples, then three times x equals twelve, so x is four and the answer is four in total.",
    ),
    (
        "zh",
        "我们先设 x，then we solve the equation and we find that the number of apples must be four because twelve divided by three is four，所以是四。",
    ),
    (
        "fr",
        "We take the two numbers and we add them together, so the answer must be the number that we wanted to find in the beginning.",
    ),
]


@detectors
def test_texts_as_models_write_them(detector) -> None:
    reward = language_consistency(detector=detector, neutral=-1.0)
    none = np.zeros(0, np.int64)
    for texts, high in ((REAL_LOOKING, True), (FOREIGN, False)):
        for language, text in texts:
            problem = Problem("p", "t", ({"role": "user", "content": "?"},), "3", language=language)
            chain = f"<think>{text}</think><answer>3</answer>"
            value = reward(problem, [Rollout(none, none, np.zeros(0), chain, Finish.STOP)])[0].value
            assert value is not None
            assert value > 0.85 if high else value < 0.55, (language, text, value)


def test_every_language_that_ifeval_asks_for_is_known():
    asked = "en es pt ar hi fr ru de ja it bn uk th ur ta te bg ko pl he fa vi ne sw kn mr gu pa ml fi"
    assert [normalise_language(code) for code in asked.split()] == asked.split()
