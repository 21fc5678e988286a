# ruff: noqa: E501
"""The vocabulary: which LaTeX commands, words and typographic signs mean what."""

from __future__ import annotations

UNICODE = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ",
    "∙": r"\cdot ", "•": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/", "≤": r"\le ", "≦": r"\le ", "⩽": r"\le ",
    "≥": r"\ge ", "≧": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ",
    "∞": r"\infty ", "π": r"\pi ", "√": r"\sqrt ", "∛": r"\sqrt[3]", "∪": r"\cup ", "∩": r"\cap ",
    "∈": r"\in ", "∉": r"\notin ", "¬": r"\neg ", "¢": r"\text{ cents}", "₹": "\\rupee ",
    "₽": "\\rouble ", "₩": "\\won ", "₫": "\\dong ",
    "₺": "\\lira ", "₪": "\\shekel ", "฿": "\\baht ", "⊂": r"\subset ", "⊆": r"\subset ",
    "⊃": r"\supset ", "⊇": r"\supset ",
    "∥": r"\parallel ", "⊥": r"\perp ", "≅": r"\cong ", "∤": r"\nmid ", "∣": "|", "∀": r"\forall ",
    "∃": r"\exists ", "∅": r"\emptyset ", "±": r"\pm ", "∓": r"\mp ", "°": r"^\circ ", "º": r"^\circ ",
    "℃": r"^\circ C", "℉": r"^\circ F", "′": "'", "″": "''", "’": "'", "‘": "'", "“": '"', "”": '"',
    "²": "^{2}", "³": "^{3}", "¹": "^{1}", "⁰": "^{0}", "⁴": "^{4}", "⁵": "^{5}", "⁶": "^{6}", "⁷": "^{7}",
    "⁸": "^{8}", "⁹": "^{9}", "⁻": "^-", "₀": "_{0}", "₁": "_{1}", "₂": "_{2}", "₃": "_{3}", "₄": "_{4}",
    "₅": "_{5}", "₆": "_{6}", "₇": "_{7}", "₈": "_{8}", "₉": "_{9}", "½": r" \frac{1}{2}",
    "⅓": r" \frac{1}{3}", "⅔": r" \frac{2}{3}", "¼": r" \frac{1}{4}", "¾": r" \frac{3}{4}",
    "⅕": r" \frac{1}{5}", "⅖": r" \frac{2}{5}", "⅗": r" \frac{3}{5}", "⅘": r" \frac{4}{5}",
    "⅙": r" \frac{1}{6}", "⅚": r" \frac{5}{6}", "⅛": r" \frac{1}{8}", "⅜": r" \frac{3}{8}",
    "⅝": r" \frac{5}{8}", "⅞": r" \frac{7}{8}", "ℝ": r"\mathbb{R}", "⟨": r"\langle ", "⟩": r"\rangle ",
    "∠": r"\angle ", "△": r"\triangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ",
    "⌉": r"\rceil ", "、": ",", "。": ".", "，": ",", "；": ";", "：": ":", "（": "(", "）": ")", "【": "[",
    "】": "]", "「": "", "」": "", "\u200b": "", "\u2061": "", "\u2062": "", "\ufeff": "", "¥": "\\yuan ",
    "￥": "\\yuan ", "€": "\\euro ", "£": "\\pounds ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ",
    "δ": r"\delta ", "θ": r"\theta ", "λ": r"\lambda ", "μ": r"\mu ", "µ": r"\mu ", "ω": r"\omega ",
    "φ": r"\phi ", "σ": r"\sigma ", "τ": r"\tau ", "ρ": r"\rho ", "Δ": r"\Delta ", "Ω": r"\Omega ",
    "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "∨": r"\lor ", "∧": r"\land ", "∖": r"\setminus ",
    "∶": ":", "㎡": r"\text{ m}^2 ", "㎠": r"\text{ cm}^2 ", "㎥": r"\text{ m}^3 ", "㎤": r"\text{ cm}^3 ",
    "\ufe0f": "", "\u20e3": "", "٪": "%", "Ø": r"\emptyset ", "Å": r"\text{ angstrom}", "‰": r"\text{ permille}", "‱": r"\text{ permyriad}",
    "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}",
}  # fmt: skip

IGNORED = frozenset(
    [
        "left",
        "right",
        "bigl",
        "bigr",
        "Bigl",
        "Bigr",
        "biggl",
        "biggr",
        "Biggl",
        "Biggr",
        "big",
        "Big",
        "bigg",
        "Bigg",
        "middle",
        "displaystyle",
        "textstyle",
        "scriptstyle",
        "quad",
        "qquad",
        "limits",
        "nolimits",
        "thinspace",
        "hfill",
        "hfil",
        "nonumber",
        "mathstrut",
        "strut",
        "allowbreak",
        "bf",
        "rm",
        "it",
        "cal",
        "tt",
        "sf",
        "normalsize",
        "large",
        "Large",
        "small",
        "protect",
        "noindent",
        "newline",
        "par",
        "null",
        "boxed",
        "fbox",
        "(",
        ")",
        "[",
        "]",
        "square",
        *(
            "checkmark",
            "blacksquare",
            "Box",
            "qed",
            "qedhere",
            "therefore",
            "scriptsize",
            "tiny",
            "footnotesize",
            "LARGE",
        ),
        *(
            "huge",
            "Huge",
            "normalfont",
            "bfseries",
            "itshape",
            "rmfamily",
            "upshape",
            "ensuremath",
            "smash",
            "centering",
        ),
        *(
            "mathop",
            "mathrel",
            "mathord",
            "mathbin",
            "mathpunct",
            "mathopen",
            "mathclose",
            "mathinner",
            "negthinspace",
        ),
        *("medspace", "thickspace", "enspace", "enskip", "relax", "unboldmath", "boldmath"),
    ]
)
IGNORED_WITH_ARGUMENT = frozenset(
    [
        "hspace",
        "vspace",
        "label",
        "tag",
        "phantom",
        "vphantom",
        "hphantom",
        "color",
        "ref",
        "textcolor",
        "colorbox",
    ]
)
TEXT_COMMANDS = frozenset(
    [
        "text",
        "textbf",
        "textit",
        "textrm",
        "texttt",
        "textsf",
        "textup",
        "mathrm",
        "mathbf",
        "mathit",
        "mathsf",
        "mathtt",
        "mathbb",
        "mathcal",
        "mathscr",
        "mbox",
        "hbox",
        "operatorname",
        "emph",
        "underline",
        "boldsymbol",
        "bm",
        "textnormal",
    ]
)

COMMANDS = {
    "cdot": "*", "times": "*", "ast": "*", "div": "/", "pm": "pm", "mp": "mp", "{": "lset", "}": "rset",
    "lbrace": "lset", "rbrace": "rset", "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")",
    "le": "<=", "leq": "<=", "leqslant": "<=", "ge": ">=", "geq": ">=", "geqslant": ">=", "lt": "<",
    "gt": ">", "ne": "!=", "neq": "!=", "not": "not", "approx": "approx", "simeq": "approx",
    "doteq": "approx", "in": "in", "notin": "notin", "notni": "notin", "neg": "neg", "lnot": "neg", "subset": "subset",
    "subseteq": "subset", "supset": "supset", "supseteq": "supset", "nsubseteq": "nsubset", "parallel": "parallel",
    "nparallel": "nparallel", "perp": "perp", "cong": "cong", "ncong": "ncong", "nmid": "nmid", "forall": "forall",
    "exists": "exists", "cup": "cup", "bigcup": "cup", "cap": "cap", "setminus": "setminus",
    "backslash": "setminus", "lor": "or", "vee": "or", "land": "and", "wedge": "and", "mid": "|",
    "vert": "|", "lvert": "|", "rvert": "|", "Vert": "|", "infty": "inf", "emptyset": "empty",
    "varnothing": "empty", "%": "%", "$": "dollar", "circ": "circ", "degree": "degree", "prime": "'",
    "ldots": "dots", "dots": "dots", "cdots": "dots", "dotsc": "dots", "dotsb": "dots", "\\": "newline",
    "colon": ":", "langle": "langle", "rangle": "rangle", "lfloor": "lfloor", "rfloor": "rfloor",
    "lceil": "lceil", "rceil": "rceil", "frac": "frac", "dfrac": "frac", "tfrac": "frac", "cfrac": "frac",
    "sfrac": "frac", "nicefrac": "frac", "flatfrac": "frac", "ffrac": "frac", "over": "over", "choose": "choose",
    "sqrt": "sqrt", "binom": "binom", "dbinom": "binom", "tbinom": "binom", "overline": "overline",
    "bar": "overline", "hat": "hat", "widehat": "hat", "vec": "vec", "overrightarrow": "vec",
    "tilde": "tilde", "dot": "dot", "ddot": "ddot", "yuan": "yuan", "euro": "euro", "pounds": "pound", "rupee": "rupee",
    "rouble": "rouble", "won": "won", "dong": "dong", "lira": "lira", "shekel": "shekel", "baht": "baht",
    "to": "to", "rightarrow": "to", "implies": "implies", "Rightarrow": "implies",
    "Longrightarrow": "implies", "iff": "implies", "Leftrightarrow": "implies", "equiv": "equiv",
    "angle": "angle", "measuredangle": "angle", "triangle": "triangle", "sum": "sum", "prod": "prod",
    "int": "int", "iint": "int", "lim": "lim", "_": "_", "#": "#", "&": "and", "pmod": "pmod", "bmod": "mod",
    "mod": "mod", "sim": "sim", "colonequals": "=", "land&": "and",
}  # fmt: skip

FUNCTIONS = {name: name for name in ["sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "arcsec", "arccsc", "sinh", "cosh", "tanh", "coth", "sech", "csch", "ln", "log", "lg", "exp", "max", "min", "gcd", "lcm", "det", "deg", "dim", "ker", "arg", "Re", "Im", "sgn"]} | {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot", "arctg": "arctan",
              "cosec": "csc", "cis": "cis", "sqrt": "sqrt", "abs": "abs", "floor": "floor", "ceil": "ceil"}  # fmt: skip
UNEVALUATED = frozenset(("gcd", "lcm", "det", "deg", "dim", "ker", "arg", "Re", "Im", "sgn", "max", "min"))

GREEK = frozenset(
    [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "varepsilon",
        "zeta",
        "eta",
        "theta",
        "vartheta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "pi",
        "rho",
        "varrho",
        "sigma",
        "tau",
        "upsilon",
        "phi",
        "varphi",
        "chi",
        "psi",
        "omega",
        "Gamma",
        "Delta",
        "Theta",
        "Lambda",
        "Xi",
        "Pi",
        "Sigma",
        "Upsilon",
        "Phi",
        "Psi",
        "Omega",
        "ell",
        "hbar",
        "odot",
        "oplus",
        "nabla",
        "partial",
        "aleph",
    ]
)

WORDS = {"infty": "inf", "infinity": "inf", "inf": "inf", "percent": "%", "percents": "%", "percentages": "%", "pct": "%", "prozent": "%", "procent": "%", "persen": "%", "percentage": "%",
         "plus": "+", "minus": "-", "leq": "<=", "geq": ">=", "cup": "cup", "mod": "mod"}  # fmt: skip

PROSE = frozenset(
    "the answer final equals approximately about roughly therefore value solution".split()  # noqa: SIM905
)

_UNIT_LIST = """
mm cm dm km inch inches ft feet foot yd yard yards mile miles mi meter meters metre metres
centimeter
centimeters centimetre centimetres kilometer kilometers kilometre kilometres millimeter
millimeters
mg kg gram grams kilogram kilograms lb lbs pound pounds oz ounce ounces ton tons tonne tonnes
sec secs second seconds min mins minute minutes hr hrs hour hours day days week weeks month months
year years
ml mL liter liters litre litres gallon gallons quart quarts pint pints cup cups
dollar dollars cent cents yuan euro euros usd rmb
degree degrees deg radian radians rad mph kph kmh ms Hz kHz kcal cal joule joules kJ watt watts kW
newton newtons
eV keV MeV GeV kPa kWh MHz GHz
permille permyriad ppm ppb
arcsec arcmin unit units sq square cubic per pm am mol moles MB GB KB people students apples
"""
UNIT_WORDS = frozenset(_UNIT_LIST.split())

_LEADING_LIST = """
the a an answer final is are equals equal to approximately about roughly around approx exactly value so thus
therefore hence total result number of we get have it answers x year page
答案 答案是 答案为 为 是 等于 约 约为 大约 共 一共 总共 共有 一共有 还剩 剩 剩下 需要 有 所以 因此 故
"""
LEADING = frozenset(_LEADING_LIST.split())
"""Words that may stand before an answer without changing it."""

_NUMBER_LIST = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
_TENS = enumerate("thirty forty fifty sixty seventy eighty ninety".split(), 3)  # noqa: SIM905
NUMBER_WORDS = {word: value for value, word in enumerate(_NUMBER_LIST.split())} | {
    w: 10 * v for v, w in _TENS
}
