"""What numbers, signs and abbreviations are called, language by language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Noun:
    """What is counted."""

    one: str
    many: str
    feminine: bool = False


def _nouns(table: str) -> dict[str, Noun]:
    """``sign:one:many`` or ``sign:one:many:f``, separated by ``;``; an empty ``many`` is as ``one``."""
    nouns = {}
    for entry in table.split(";"):
        sign, one, many, *feminine = entry.strip().split(":")
        nouns[sign] = Noun(one, many or one, bool(feminine))
    return nouns


def _pairs(table: str) -> dict[str, str]:
    """``written=read``, separated by ``;``."""
    entries = (entry.strip() for entry in table.split(";"))
    return {entry[: entry.index("=", 1)]: entry[entry.index("=", 1) + 1 :] for entry in entries}


@dataclass(frozen=True, slots=True)
class Words:
    group: str
    """The sign between thousands, beside blanks."""
    decimal: str
    point: str
    percent: str
    minus: str
    until: str
    """Between the ends of a range."""
    one: tuple[str, str]
    """Before a noun: masculine or neuter, feminine."""
    months: tuple[str, ...]
    """The twelve months; upper case where they are written so."""
    signs: Mapping[str, str]
    """How a sign between words is read."""
    address: Mapping[str, str]
    """How signs in addresses are read."""
    nouns: Mapping[str, Noun]
    """Units and currencies by sign."""
    cents: Mapping[str, Noun]
    """The hundredth of a currency."""
    joint: str
    """Between a currency and its hundredths."""
    magnitudes: Mapping[str, Noun]
    abbreviations: Mapping[str, str]
    fractions: Mapping[str, str]
    fraction_digits: bool = True
    """Decimals are read digit by digit rather than as a number."""
    of_million: str = ""
    """Between a million and its noun."""
    kings: str = ""
    """Names, as an expression, after which a Roman numeral is read."""
    hashtag: str = "hashtag"
    bare_cents: bool = False
    """After a currency, its hundredths are a number alone."""


_EN = Words(
    group=",",
    decimal=".",
    point="point",
    percent="percent",
    minus="minus",
    until="to",
    one=("one", "one"),
    months=("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"),
    signs=_pairs(
        "&=and;+=plus;==equals;%=percent;#=number;×=times;÷=divided by;±=plus or minus;<=less than;>=greater than;≈=about;§=section"
    ),
    address=_pairs(".=dot;/=slash;@=at;-=dash;_=underscore;:=colon"),
    nouns=_nouns(
        "$:dollar:dollars;€:euro:euros;£:pound:pounds;¥:yen:;₹:rupee:rupees;CHF:Swiss franc:Swiss francs;"
        "km/h:kilometre per hour:kilometres per hour;mph:mile per hour:miles per hour;m/s:metre per second:metres per second;"
        "km²:square kilometre:square kilometres;m²:square metre:square metres;m³:cubic metre:cubic metres;"
        "km:kilometre:kilometres;cm:centimetre:centimetres;mm:millimetre:millimetres;"
        "m:metre:metres;kg:kilogram:kilograms;mg:milligram:milligrams;"
        "g:gram:grams;t:tonne:tonnes;ml:millilitre:millilitres;l:litre:litres;L:litre:litres;°C:degree Celsius:degrees Celsius;"
        "°F:degree Fahrenheit:degrees Fahrenheit;°:degree:degrees;"
        "kWh:kilowatt hour:kilowatt hours;MW:megawatt:megawatts;kW:kilowatt:kilowatts;"
        "W:watt:watts;V:volt:volts;GHz:gigahertz:;MHz:megahertz:;kHz:kilohertz:;Hz:hertz:;TB:terabyte:terabytes;GB:gigabyte:gigabytes;"
        "MB:megabyte:megabytes;kB:kilobyte:kilobytes;KB:kilobyte:kilobytes;"
        "ms:millisecond:milliseconds;min:minute:minutes;s:second:seconds;"
        "h:hour:hours;ft:foot:feet;lb:pound:pounds;lbs:pound:pounds;oz:ounce:ounces;ha:hectare:hectares"
    ),
    cents=_nouns("$:cent:cents;€:cent:cents;£:penny:pence;CHF:centime:centimes"),
    joint=" and ",
    magnitudes=_nouns(
        "k:thousand:;K:thousand:;m:million:;M:million:;bn:billion:;B:billion:;tn:trillion:;thousand:thousand:;million:million:;"
        "billion:billion:;trillion:trillion:"
    ),
    abbreviations=_pairs(
        "Dr.=Doctor;Mr.=Mister;Mrs.=Missus;Ms.=Miz;Prof.=Professor;Jr.=Junior;Sr.=Senior;Gen.=General;Sen.=Senator;Rep.=Representative;"
        "Gov.=Governor;e.g.=for example;i.e.=that is;etc.=et cetera;vs.=versus;"
        "approx.=approximately;dept.=department;a.m.=a m;p.m.=p m;"
        "Ltd.=Limited;Inc.=Incorporated;Mt.=Mount;cf.=compare;w/o=without;w/=with"
    ),
    fractions=_pairs(
        "1/2=one half;1/3=one third;2/3=two thirds;1/4=one quarter;3/4=three quarters;1/5=one fifth;2/5=two fifths;3/5=three fifths;"
        "4/5=four fifths;1/8=one eighth;3/8=three eighths;5/8=five eighths;7/8=seven eighths;1/10=one tenth"
    ),
    kings=(
        "Louis|Henry|Charles|Elizabeth|George|William|Edward|Richard|James|Philip|Frederick|Napoleon|Nicholas|"
        "Alexander|Pius|John Paul|Benedict"
    ),
)

_DE = Words(
    group=".",
    decimal=",",
    point="Komma",
    percent="Prozent",
    minus="minus",
    until="bis",
    one=("ein", "eine"),
    months=("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"),
    signs=_pairs(
        "&=und;+=plus;==gleich;%=Prozent;#=Nummer;×=mal;÷=geteilt durch;±=plus minus;<=kleiner als;>=größer als;≈=etwa;§=Paragraf"
    ),
    address=_pairs(".=Punkt;/=Schrägstrich;@=ät;-=Bindestrich;_=Unterstrich;:=Doppelpunkt"),
    nouns=_nouns(
        "$:Dollar:;€:Euro:;£:Pfund:;¥:Yen:;CHF:Schweizer Franken:;₹:Rupie:Rupien:f;km/h:Kilometer pro Stunde:;m/s:Meter pro Sekunde:;"
        "km²:Quadratkilometer:;m²:Quadratmeter:;m³:Kubikmeter:;km:Kilometer:;cm:Zentimeter:;"
        "mm:Millimeter:;m:Meter:;kg:Kilogramm:;mg:Milligramm:;"
        "g:Gramm:;t:Tonne:Tonnen:f;ml:Milliliter:;l:Liter:;L:Liter:;°C:Grad Celsius:;"
        "°F:Grad Fahrenheit:;°:Grad:;kWh:Kilowattstunde:Kilowattstunden:f;"
        "MW:Megawatt:;kW:Kilowatt:;W:Watt:;V:Volt:;GHz:Gigahertz:;MHz:Megahertz:;kHz:Kilohertz:;"
        "Hz:Hertz:;TB:Terabyte:;GB:Gigabyte:;MB:Megabyte:;"
        "kB:Kilobyte:;ms:Millisekunde:Millisekunden:f;min:Minute:Minuten:f;s:Sekunde:Sekunden:f;h:Stunde:Stunden:f;ha:Hektar:"
    ),
    cents=_nouns("$:Cent:;€:Cent:;£:Penny:Pence;CHF:Rappen:"),
    joint=" ",
    magnitudes=_nouns(
        "Tsd.:tausend:;Mio.:Million:Millionen:f;Mrd.:Milliarde:Milliarden:f;Million:Million:Millionen:f;Millionen:Million:Millionen:f;"
        "Milliarde:Milliarde:Milliarden:f;Milliarden:Milliarde:Milliarden:f;m:Million:Millionen:f"
    ),
    abbreviations=_pairs(
        "z. B.=zum Beispiel;z.B.=zum Beispiel;d. h.=das heißt;d.h.=das heißt;u. a.=unter anderem;u.a.=unter anderem;usw.=und so weiter;"
        "bzw.=beziehungsweise;ca.=circa;Dr.=Doktor;Prof.=Professor;Hr.=Herr;Fr.=Frau;"
        "Nr.=Nummer;Str.=Straße;vgl.=vergleiche;evtl.=eventuell;"
        "ggf.=gegebenenfalls;inkl.=inklusive;max.=maximal;min.=mindestens;St.=Sankt;Mio.=Millionen;"
        "Mrd.=Milliarden;etc.=et cetera;i. d. R.=in der Regel"
    ),
    fractions=_pairs(
        "1/2=ein halb;1/3=ein Drittel;2/3=zwei Drittel;1/4=ein Viertel;3/4=drei Viertel;1/5=ein Fünftel;1/8=ein Achtel;1/10=ein Zehntel"
    ),
    kings=(
        "Ludwig|Heinrich|Karl|Friedrich|Wilhelm|Elisabeth|Georg|Philipp|Otto|Leopold|Napoleon|Nikolaus|Alexander|Pius|"
        "Johannes Paul|Benedikt"
    ),
    bare_cents=True,
)

_FR = Words(
    group="",
    decimal=",",
    point="virgule",
    percent="pour cent",
    minus="moins",
    until="à",
    one=("un", "une"),
    months=("janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"),
    signs=_pairs(
        "&=et;+=plus;==égale;%=pour cent;#=numéro;×=fois;÷=divisé par;±=plus ou moins;<=inférieur à;>=supérieur à;≈=environ;§=paragraphe"
    ),
    address=_pairs(".=point;/=barre oblique;@=arobase;-=tiret;_=tiret bas;:=deux points"),
    nouns=_nouns(
        "$:dollar:dollars;€:euro:euros;£:livre:livres:f;¥:yen:yens;CHF:franc suisse:francs suisses;₹:roupie:roupies:f;"
        "km/h:kilomètre à l'heure:kilomètres à l'heure;m/s:mètre par seconde:mètres par seconde;km²:kilomètre carré:kilomètres carrés;"
        "m²:mètre carré:mètres carrés;m³:mètre cube:mètres cubes;km:kilomètre:kilomètres;"
        "cm:centimètre:centimètres;mm:millimètre:millimètres;"
        "m:mètre:mètres;kg:kilogramme:kilogrammes;mg:milligramme:milligrammes;"
        "g:gramme:grammes;t:tonne:tonnes:f;ml:millilitre:millilitres;"
        "l:litre:litres;L:litre:litres;°C:degré Celsius:degrés Celsius;°F:degré Fahrenheit:degrés Fahrenheit;°:degré:degrés;"
        "kWh:kilowattheure:kilowattheures;MW:mégawatt:mégawatts;kW:kilowatt:kilowatts;"
        "W:watt:watts;V:volt:volts;GHz:gigahertz:;MHz:mégahertz:;"
        "kHz:kilohertz:;Hz:hertz:;To:téraoctet:téraoctets;Go:gigaoctet:gigaoctets;Mo:mégaoctet:mégaoctets;GB:gigaoctet:gigaoctets;"
        "MB:mégaoctet:mégaoctets;ms:milliseconde:millisecondes:f;min:minute:minutes:f;"
        "s:seconde:secondes:f;h:heure:heures:f;ha:hectare:hectares"
    ),
    cents=_nouns("$:cent:cents;€:centime:centimes;£:penny:pence;CHF:centime:centimes"),
    joint=" ",
    magnitudes=_nouns(
        "k:mille:;M:million:millions;Md:milliard:milliards;million:million:millions;"
        "millions:million:millions;milliard:milliard:milliards;"
        "milliards:milliard:milliards;m:million:millions"
    ),
    abbreviations=_pairs(
        "M.=Monsieur;MM.=Messieurs;Mme=Madame;Mmes=Mesdames;Mlle=Mademoiselle;Dr=Docteur;Dr.=Docteur;Pr=Professeur;p. ex.=par exemple;"
        "c.-à-d.=c'est-à-dire;etc.=et cetera;n°=numéro;N°=numéro;av.=avenue;env.=environ;St=Saint;Ste=Sainte;cf.=confer"
    ),
    fractions=_pairs(
        "1/2=un demi;1/3=un tiers;2/3=deux tiers;1/4=un quart;3/4=trois quarts;1/5=un cinquième;1/8=un huitième;1/10=un dixième"
    ),
    fraction_digits=False,
    of_million="d'",
    kings="Louis|Henri|Charles|François|Philippe|Élisabeth|Georges|Guillaume|Édouard|Napoléon|Nicolas|Alexandre|Pie|Jean-Paul|Benoît",
    bare_cents=True,
    hashtag="hashtag",
)

_ES = Words(
    group=".",
    decimal=",",
    point="coma",
    percent="por ciento",
    minus="menos",
    until="a",
    one=("un", "una"),
    months=("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"),
    signs=_pairs(
        "&=y;+=más;==igual a;%=por ciento;#=número;×=por;÷=dividido entre;±=más o menos;<=menor que;>=mayor que;≈=aproximadamente;§=sección"
    ),
    address=_pairs(".=punto;/=barra;@=arroba;-=guion;_=guion bajo;:=dos puntos"),
    nouns=_nouns(
        "$:dólar:dólares;€:euro:euros;£:libra:libras:f;¥:yen:yenes;CHF:franco suizo:francos suizos;₹:rupia:rupias:f;"
        "km/h:kilómetro por hora:kilómetros por hora;"
        "m/s:metro por segundo:metros por segundo;km²:kilómetro cuadrado:kilómetros cuadrados;"
        "m²:metro cuadrado:metros cuadrados;m³:metro cúbico:metros cúbicos;km:kilómetro:kilómetros;"
        "cm:centímetro:centímetros;mm:milímetro:milímetros;"
        "m:metro:metros;kg:kilogramo:kilogramos;mg:miligramo:miligramos;g:gramo:gramos;"
        "t:tonelada:toneladas:f;ml:mililitro:mililitros;l:litro:litros;"
        "L:litro:litros;°C:grado Celsius:grados Celsius;°F:grado Fahrenheit:grados Fahrenheit;"
        "°:grado:grados;kWh:kilovatio hora:kilovatios hora;"
        "MW:megavatio:megavatios;kW:kilovatio:kilovatios;W:vatio:vatios;V:voltio:voltios;"
        "GHz:gigahercio:gigahercios;MHz:megahercio:megahercios;"
        "kHz:kilohercio:kilohercios;Hz:hercio:hercios;TB:terabyte:terabytes;GB:gigabyte:gigabytes;MB:megabyte:megabytes;"
        "ms:milisegundo:milisegundos;min:minuto:minutos;s:segundo:segundos;h:hora:horas:f;ha:hectárea:hectáreas:f"
    ),
    cents=_nouns("$:centavo:centavos;€:céntimo:céntimos;£:penique:peniques;CHF:céntimo:céntimos"),
    joint=" con ",
    magnitudes=_nouns("k:mil:;M:millón:millones;m:millón:millones;millón:millón:millones;millones:millón:millones;mil:mil:"),
    abbreviations=_pairs(
        "Sr.=señor;Sra.=señora;Srta.=señorita;Sres.=señores;Dr.=doctor;Dra.=doctora;D.=don;"
        "Dña.=doña;Ud.=usted;Uds.=ustedes;p. ej.=por ejemplo;"
        "p.ej.=por ejemplo;etc.=etcétera;EE. UU.=Estados Unidos;EE.UU.=Estados Unidos;"
        "aprox.=aproximadamente;n.º=número;núm.=número;pág.=página;"
        "a. C.=antes de Cristo;d. C.=después de Cristo;Av.=avenida"
    ),
    fractions=_pairs(
        "1/2=un medio;1/3=un tercio;2/3=dos tercios;1/4=un cuarto;3/4=tres cuartos;1/5=un quinto;1/8=un octavo;1/10=un décimo"
    ),
    fraction_digits=False,
    of_million="de ",
    kings=(
        "Felipe|Carlos|Alfonso|Fernando|Luis|Enrique|Isabel|Jorge|Guillermo|Eduardo|Napoleón|Nicolás|Alejandro|Pío|"
        "Juan Pablo|Benedicto|siglo"
    ),
    hashtag="etiqueta",
)

_IT = Words(
    group=".",
    decimal=",",
    point="virgola",
    percent="per cento",
    minus="meno",
    until="a",
    one=("un", "una"),
    months=(
        "gennaio",
        "febbraio",
        "marzo",
        "aprile",
        "maggio",
        "giugno",
        "luglio",
        "agosto",
        "settembre",
        "ottobre",
        "novembre",
        "dicembre",
    ),
    signs=_pairs("&=e;+=più;==uguale a;%=per cento;#=numero;×=per;÷=diviso;±=più o meno;<=minore di;>=maggiore di;≈=circa;§=paragrafo"),
    address=_pairs(".=punto;/=barra;@=chiocciola;-=trattino;_=trattino basso;:=due punti"),
    nouns=_nouns(
        "$:dollaro:dollari;€:euro:;£:sterlina:sterline:f;¥:yen:;CHF:franco svizzero:franchi svizzeri;₹:rupia:rupie:f;"
        "km/h:chilometro all'ora:chilometri all'ora;m/s:metro al secondo:metri al secondo;km²:chilometro quadrato:chilometri quadrati;"
        "m²:metro quadrato:metri quadrati;m³:metro cubo:metri cubi;km:chilometro:chilometri;"
        "cm:centimetro:centimetri;mm:millimetro:millimetri;"
        "m:metro:metri;kg:chilogrammo:chilogrammi;mg:milligrammo:milligrammi;g:grammo:grammi;"
        "t:tonnellata:tonnellate:f;ml:millilitro:millilitri;"
        "l:litro:litri;L:litro:litri;°C:grado Celsius:gradi Celsius;"
        "°F:grado Fahrenheit:gradi Fahrenheit;°:grado:gradi;kWh:chilowattora:;"
        "MW:megawatt:;kW:chilowatt:;W:watt:;V:volt:;GHz:gigahertz:;MHz:megahertz:;kHz:chilohertz:;"
        "Hz:hertz:;TB:terabyte:;GB:gigabyte:;MB:megabyte:;"
        "ms:millisecondo:millisecondi;min:minuto:minuti;s:secondo:secondi;h:ora:ore:f;ha:ettaro:ettari"
    ),
    cents=_nouns("$:centesimo:centesimi;€:centesimo:centesimi;£:penny:penny;CHF:centesimo:centesimi"),
    joint=" e ",
    magnitudes=_nouns(
        "mln:milione:milioni;mld:miliardo:miliardi;M:milione:milioni;m:milione:milioni;milione:milione:milioni;milioni:milione:milioni;"
        "miliardo:miliardo:miliardi;miliardi:miliardo:miliardi;mila:mila:"
    ),
    abbreviations=_pairs(
        "Sig.=signor;sig.=signor;Sig.ra=signora;sig.ra=signora;Sigg.=signori;Dott.=dottor;"
        "dott.=dottor;Dott.ssa=dottoressa;dott.ssa=dottoressa;"
        "Prof.=professor;prof.=professor;Ing.=ingegner;Avv.=avvocato;ecc.=eccetera;etc.=eccetera;"
        "es.=esempio;ad es.=ad esempio;p.es.=per esempio;"
        "n.=numero;pag.=pagina;ca.=circa;S.=San;a.C.=avanti Cristo;d.C.=dopo Cristo"
    ),
    fractions=_pairs("1/2=un mezzo;1/3=un terzo;2/3=due terzi;1/4=un quarto;3/4=tre quarti;1/5=un quinto;1/8=un ottavo;1/10=un decimo"),
    fraction_digits=False,
    of_million="di ",
    kings=(
        "Luigi|Enrico|Carlo|Vittorio Emanuele|Umberto|Elisabetta|Giorgio|Guglielmo|Edoardo|Filippo|Napoleone|"
        "Alessandro|Pio|Giovanni Paolo|Benedetto"
    ),
)

_PT = Words(
    group=".",
    decimal=",",
    point="vírgula",
    percent="por cento",
    minus="menos",
    until="a",
    one=("um", "uma"),
    months=("janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto", "setembro", "outubro", "novembro", "dezembro"),
    signs=_pairs(
        "&=e;+=mais;==igual a;%=por cento;#=número;×=vezes;÷=dividido por;±=mais ou menos;<=menor que;>=maior que;≈=cerca de;§=parágrafo"
    ),
    address=_pairs(".=ponto;/=barra;@=arroba;-=hífen;_=sublinhado;:=dois pontos"),
    nouns=_nouns(
        "R$:real:reais;$:dólar:dólares;€:euro:euros;£:libra:libras:f;¥:iene:ienes;CHF:franco suíço:francos suíços;₹:rupia:rupias:f;"
        "km/h:quilómetro por hora:quilómetros por hora;"
        "m/s:metro por segundo:metros por segundo;km²:quilómetro quadrado:quilómetros quadrados;"
        "m²:metro quadrado:metros quadrados;m³:metro cúbico:metros cúbicos;"
        "km:quilómetro:quilómetros;cm:centímetro:centímetros;mm:milímetro:milímetros;"
        "m:metro:metros;kg:quilograma:quilogramas;mg:miligrama:miligramas;g:grama:gramas;"
        "t:tonelada:toneladas:f;ml:mililitro:mililitros;l:litro:litros;"
        "L:litro:litros;°C:grau Celsius:graus Celsius;°F:grau Fahrenheit:graus Fahrenheit;"
        "°:grau:graus;kWh:quilowatt-hora:quilowatts-hora;"
        "MW:megawatt:megawatts;kW:quilowatt:quilowatts;W:watt:watts;V:volt:volts;"
        "GHz:gigahertz:;MHz:megahertz:;kHz:quilohertz:;Hz:hertz:;"
        "TB:terabyte:terabytes;GB:gigabyte:gigabytes;MB:megabyte:megabytes;"
        "ms:milissegundo:milissegundos;min:minuto:minutos;s:segundo:segundos;"
        "h:hora:horas:f;ha:hectare:hectares"
    ),
    cents=_nouns("R$:centavo:centavos;$:cêntimo:cêntimos;€:cêntimo:cêntimos;£:péni:pence;CHF:cêntimo:cêntimos"),
    joint=" e ",
    magnitudes=_nouns(
        "mi:milhão:milhões;M:milhão:milhões;m:milhão:milhões;bi:bilhão:bilhões;milhão:milhão:milhões;milhões:milhão:milhões;mil:mil:"
    ),
    abbreviations=_pairs(
        "Sr.=senhor;Sra.=senhora;Srs.=senhores;Dr.=doutor;Dra.=doutora;Prof.=professor;"
        "Profa.=professora;D.=dom;p. ex.=por exemplo;p.ex.=por exemplo;"
        "etc.=et cetera;aprox.=aproximadamente;n.º=número;nº=número;pág.=página;Av.=avenida;"
        "a. C.=antes de Cristo;d. C.=depois de Cristo;EUA=Estados Unidos"
    ),
    fractions=_pairs("1/2=um meio;1/3=um terço;2/3=dois terços;1/4=um quarto;3/4=três quartos;1/5=um quinto;1/8=um oitavo;1/10=um décimo"),
    fraction_digits=False,
    of_million="de ",
    kings=(
        "João|Pedro|Manuel|Afonso|Luís|Carlos|Henrique|Isabel|Jorge|Guilherme|Eduardo|Filipe|Napoleão|Alexandre|Pio|João Paulo|Bento|século"
    ),
)

WORDS: Mapping[str, Words] = {"en": _EN, "de": _DE, "fr": _FR, "es": _ES, "it": _IT, "pt": _PT}
CURRENCY_CODES: Mapping[str, str] = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "BRL": "R$", "CHF": "CHF"}
CURRENCIES = ("R$", "$", "€", "£", "¥", "₹", "CHF")
MONTH_FIRST_REGIONS = frozenset({"", "us", "ph"})
"""Regions of English in which 03/04 is the fourth of March."""
