"""Number words of other languages that are written in plain letters: behind a numeral they say another number.

They are not worked out: ``5 cientos`` may be 500, and is not 5 of something.
"""

from __future__ import annotations

import re

_WORDS = """
acht achtel achthonderd achthundert achttien achtzehn achtzig arton atten atus belas bilion biliwn birmilyar
birmilyon bucuk bymtheg cant catorce catorze centenas centesimo centesimos centinaia cento cero ceyrek chant chwech
cien cientas ciento cientos cinc cinci cincisprezece cincizeci cinco cincuenta cinq cinquanta cinquante cinque
cinquecento cinquenta cuarenta cuarto cuartos cuatro cuatrocientos cwierc cztery czterysta ddeg decenas decimi
decimo decimos delapan demi demie derde dertien dertig deset desmit deuddeg deugain deunaw deux devedeset devet
devetdeset devetnaest devetnajst devetsto devyni devyniolika dezanove dezasseis dezassete dezenove dezesseis
dezessete dezoito diciannove diciassette diciotto dieci diecinueve dieciocho diecisiete diez dinou disset divdesmit
divi divpadsmit divuit doce docenas dodici dois doisprezece doksan dokuz doqquz doscientas doscientos dotze douze
doxsan doze drei dreihundert dreissig dreizehn drie driehonderd drittel ducent dudek duecento duizend duzentos
dvacet dvadeset dvajset dvanaest dvanajst dvesta dvesto dvylika eine einhundert einn eins eintausend eitt ellefu
elleve elli empat enajst enam ethundrede etthundra etttusen ettusind ezer ezret femhundra femhundrede femten femti
femtio femton fimm firehundrede firs fjorten fjorton fuenf fuenftel fuenfzehn fuenfzig funftel funfzehn funfzig fyra
fyrahundra fyrre gant haat haatnulu haelfte halb halbe halben halfte halve halvfems halvfjerds halvtreds harminc
hatvan helft hetven hiljada hiljade hiljadu hitu hitunulu honderd hugain huit huitante hundert hunderte hundertstel
iyirmi jedan jedanaest jeden jedna juta jutaan kahdeksan kahdeksansataa kahdeksantoista kaksi kaksisataa kaksitoista
keturi keturiolika kilenc kilencven kolme kolmesataa kolmetoista kuusi kuusisataa kuusitoista kvar kvarcent kvardek
kvin kvincent kvindek kwart kymmenen kymmenta lima limanulu lusin media medio meia meio metade mezza mezzo migliaia
migliaio milhar milhares miliar miliard miliarda miliardo miliaun milijarda milijardas milijon milijonas milioane
milion miliono milions miliwn miljard miljardi miljards miljoen miljon miljons miljoona millar millard millares
milliarder millioner millones milyard milyon mitad mitade moitie muoi neen neenulu negen negenhonderd negentien
negentig negyven neuf neun neunhundert neunzehn neunzig nghin nihundrede niohundra nitten nitti nittio nitton noll
nolla nonante noranta novanta nove novecento novecentos novecientos noventa nueve nula nulis nulla nulle nyolc
nyolcvan ochenta ocho ochocientos oitenta oito oitocentos okcent okdek onbir ondokuz oniki onsekiz onyedi onze
optsprezece optzeci osam osamdeset osamnaest osamsto osem osemdeset osemdesiat osemnajst osemsto osiem osiemset
osmset ottanta otte ottehundrede otto ottocento otuz paisprezece patru patruzeci pedeset pedwar penki penkiolika
petdeset petnaest petnajst petsto phedwar piecdesmit pieci piecpadsmit polowa polowy pulek puluh puluhan pump
pymtheg quaranta quarante quarenta quarti quarto quatorze quatre quatro quatrocentos quattordici quattro
quattrocento quince quindici quinhentos quinientos quinti quinto quintos quinze ratus ratusan ribuan rihun ruanulu
saith sanulu sata sataa satu sebelas sechs sechshundert sechstel sechzehn sechzig sedam sedamdeset sedamnaest
sedamsto sedem sedemdeset sedemdesiat sedemnajst sedemsto sedici sedm sedmset seicento seis seiscentos seiscientos
seixanta seize sekiz seks seksen sekshundrede seksten seksti sembilan separuh sepcent sepdek seperempat sepertiga
sept septante septyni septyniolika sepuluh seratus seribu sescent sesdek sesenta sessanta sessenta setanta
setecentos setecientos setengah setenta setki settanta sette settecento setze sexhundra sextio sexto sianulu sieben
siebenhundert siebzehn siebzig siedem siedemset siete simti simts sjuhundra sjuttio sjutton soixante stotina sute
sytten sytti syvhundrede szaz tachtig tausende tausendstel tercio tercios terco tercos terzi terzo thrigain tiende
tiga tisic tisice tisicu tisoc tizenegy tizenhat tizenkilenc tizennyolc tjue tjugo tohundrede tolu tolunulu tolv
tram trece trecento tredici tredive treds trehundra trehundrede trei treinta treisprezece treize treizeci trenta
trente tres trescientas trescientos tretten tretti trettio tretton tretze treze trezentos tricent tridek trideset
trieu trigain trinaest trinajst trinta trista tristo trois trylika trys trzy trzysta tuhat tuhatta tujuh tusen
tuttugu tveir twaalf twee tweehonderd twintig tysiac tysiace tysiecy tyve ualu ualunulu ugain undici unsprezece
veertien veertig veinte venti vienas vienpadsmit viens vienuolika vier vierhonderd vierhundert viertel vierzehn
vierzig viisi viisisataa viisitoista vijf vijfde vijfhonderd vijftien vijftig vingt vingts vint vinte vuit vuitanta
wyth yarim yeddi yedi yirmi yksi yksitoista zece zehn zehntel zeshonderd zestien zestig zeven zevenhonderd zeventien
zeventig zwanzig zwanzigtausend zwei zweihundert zwoelf zwolf
"""
_ALONE = frozenset(_WORDS.split())
# Numbers written as one word, by their parts: German and Dutch, Italian, the languages of the north.
_TOGETHER = re.compile(
    r"(?:(?:ein|eins|zwei|drei|vier|fue?nf|sechs?|sieben|sieb|acht|neun|zehn|elf|zwoe?lf|zwan|und|zig|ssig|hundert|tausend){2,}|"
    r"(?:een|twee|drie|vier|vijf|zes|zeven|acht|negen|tien|en|twintig|dertig|veertig|vijftig|zestig|zeventig|tachtig|"
    r"negentig|honderd|duizend){2,}|"
    r"(?:uno|un|due|tre|quattro|cinque|sei|sette|otto|nove|dieci|venti?|trenta?|quaranta?|cinquanta?|sessanta?|settanta?|"
    r"ottanta?|novanta?|cento|mila|mille){2,}|"
    r"(?:ett?|en|tva|to|tre|fyra|fire|fem|sex|seks|sju|syv|atta|otte|nio|ni|tjugo|tjue|trettio|tretti|fyrtio|forti|femtio|"
    r"femti|sextio|seksti|sjuttio|sytti|attio|atti|nittio|nitti|hundra|hundre|hundrede|tusen|tusind|og){2,}|"
    r"(?:yksi|kaksi|kolme|nelja|viisi|kuusi|seitseman|kahdeksan|yhdeksan|kymmenta|toista|sataa|tuhatta|tuhat){2,})\Z"
)
_LONGEST = 60


def is_number_elsewhere(word: str) -> bool:
    """Whether a word in small letters is one of them."""
    return word in _ALONE or (5 < len(word) <= _LONGEST and _TOGETHER.match(word) is not None)
