"""Words that announce a thought and hold none, in the languages that models fall into."""

from __future__ import annotations

import re

_ENGLISH = """
    a all am an and answer answers any be below brief by can careful carefully chain come consider content do
    down
    explain explanation fill final first following for get give go goes going have hmm how i in inside insert
    into is it
    let ll look m me my need next ok okay on one our out place placeholder problem process put question read
    reason
    reasoning reply response s should show so solution solve solved some start starting step steps text that the
    then
    there these things think thinking this thought thoughts through to understand up us very want we well what
    will
    with work working write your
    after ai as assistant before blah certainly course finally firstly foo great happy help helpful ipsum
    language last
    lastly lorem model must n/a nan need needs next none now null of ok okay overall please response right
    secondly
    solved solving sure task tbd thanks that those todo type understanding user which will would xxx you
    alright analyse analysis analyze analyzing approach are asked asks asf asdf abc bar calculate calculating
    calculation
    clear clearly compute computed computing correct d did done dolor easy easily either find following follows
    given glad
    goal he internal just know known lets loading logic logical logically mind monologue necessary needed no
    obvious
    obviously omitted organize ponder pondering processing provide provided provides re required result
    scratchpad see
    sentence simple simply sit amet straightforward summary they trivial try ve was were while
"""
_SPANISH = """
    aquí va proceso de del razonamiento pensamiento respuesta pregunta el la los las un una vamos a pensar
    pensemos paso
    por pasos primero segundo luego después finalmente problema hay que debo debemos voy resolver analizar
    entender solución
    es y en este esta mi su lo razonar respondo así
"""
_FRENCH = """
    ici processus de du des raisonnement pensée réflexion réponse question le la les un une réfléchissons étape
    par étapes
    pensons allons nous je vais doit dois d abord ensuite puis enfin problème résoudre analyser comprendre
    solution est
    et ce cette mon ma voici voilà penser réfléchir commençons il faut donc c
"""
_GERMAN = """
    hier kommt denkprozess denkvorgang der die das den dem ein eine einen gedanken überlegung überlegungen
    begründung antwort
    frage lass lasst uns schritt für schritte denken nachdenken ich wir werde werden muss müssen zuerst zunächst
    dann
    danach schließlich problem lösen analysieren verstehen lösung steht ist und es also aufgabe mir mal meine
"""
_OTHER_ROMANCE = """
    qui processo di ragionamento pensiero risposta domanda il lo la un una pensiamo passo dopo per prima poi
    infine
    problema risolvere analizzare capire soluzione è e devo dobbiamo
    aqui processo de raciocínio pensamento resposta pergunta o os as um uma vamos pensar passo por primeiro
    depois
    finalmente problema resolver analisar entender solução preciso
    raționament aici pas cu să gândim răspuns întrebare
"""
_SLAVIC = """
    здесь процесс рассуждения рассуждение рассуждений размышления размышление мысли мышления ответ вопрос
    давайте давай
    подумаем подумать думать шаг за шагом по шагам сначала затем потом наконец задача задачу задачи решить решим
    решение
    понять анализ проанализируем мне нужно надо я мы это и в на
    тут процес міркування відповідь подумаємо крок кроком
    tutaj proces rozumowania rozumowanie myśli myślenia odpowiedź pytanie pomyślmy krok po kroku najpierw potem
    zde úvahy krok za krokem
"""
_NORTHERN = """
    hier redenering redeneerproces denkproces antwoord vraag laten we stap voor denken eerst daarna probleem
    oplossen het de
    här resonemang tankeprocess steg för låt oss tänka svar fråga
    her tankegang tankeproces trin steg la tenke svar
"""
_ASIAN = """
    quá trình suy luận ở đây hãy nghĩ từng bước câu trả lời hỏi đầu tiên sau đó cuối cùng bài toán giải tôi cần
    hiểu
    chúng ta một
    proses penalaran pemikiran di sini mari kita berpikir langkah demi jawaban pertanyaan pertama kemudian
    akhirnya saya
    akan masalah memahami
    düşünme akıl yürütme süreci burada buraya adım düşünelim cevap yanıt soru önce sonra
    عملية التفكير الاستدلال هنا دعنا دعونا نفكر خطوة بخطوة الجواب الإجابة السؤال أولا ثم
    तर्क विचार प्रक्रिया यहाँ यहां चरण दर आइए सोचें सोचते हैं उत्तर प्रश्न की का के है
"""
EMPTY = frozenset(
    " ".join((_ENGLISH, _SPANISH, _FRENCH, _GERMAN, _OTHER_ROMANCE, _SLAVIC, _NORTHERN, _ASIAN)).split()
)

EMPTY_HAN = frozenset(
    "一下个中为了的是在此处这里推理过程思考虑想法步骤逐分析解题问答案让我们来先地请写填入内容首然后最终好吧嗯"
    "所以因就会将要该可能需回复用户您你的論過ここにでをはのプロセスえ道出提决它省略書まずすしくさ問題說説這裡個為讓們來寫請內後應會將戶復よてだかられるせ"
)
"""Chinese and Japanese characters of such words."""

_KOREAN = re.compile(
    r"(?:추론|생각|사고|과정|단계|문제|풀이|풀어|풀겠|답변?|정답|여기|봅시다|봅니다|보겠|보자|해결|먼저|그리고|다음|이제|질문|사용자|하나씩|"
    r"차근차근|작성|이|를|을|의|에)[가-힣]{0,5}"
)
_THAI = re.compile(
    r"(?:กระบวนการ|เหตุผล|ความคิด|การ|คิด|ให้|ที่นี่|ขั้นตอน|ทีละ|ขั้น|มา|กัน|คำตอบ|คำถาม|คือ|ตอบ|เรา|จะ|ต้อง)+"
)


_ANSWER = re.compile(
    r"answer|respuesta|réponse|antwort|risposta|resposta|ответ|odpowiedź|antwoord|svar|jawaban|cevap|答案|答え|回答|정답|답변|"
    r"الجواب|الإجابة|उत्तर|คำตอบ|trả lời"
)


def names_an_answer(text: str) -> bool:
    """Whether a text in small letters has a word for an answer."""
    return _ANSWER.search(text) is not None


def says_nothing(word: str) -> bool:
    """Whether a word in small letters only announces a thought."""
    if word in EMPTY or all(character in EMPTY_HAN for character in word):
        return True
    return bool(_KOREAN.fullmatch(word) or _THAI.fullmatch(word))
