"""The grammar of the text form, LALR(1). Its terminals are those of the lexer.

One rule, `instruction`, serves every instruction: what its operands and attributes mean is read
from the fields of the instruction's class.
"""

from __future__ import annotations

from .words import KEYWORDS, PUNCTUATION

TERMINALS = (
    "_END",
    "_NEWLINE",
    "VALUE",
    "LAYOUT_NAME",
    "FUNCTION_NAME",
    "INTEGER",
    "FLOAT",
    "NAME",
    "STRING",
    *sorted(keyword.upper() for keyword in KEYWORDS),
    *PUNCTUATION.values(),
)

RULES = r"""
module: (item _NEWLINE)* item? _END

?item: function | layout_definition | codebook_definition
layout_definition: LAYOUT LAYOUT_NAME _EQUALS layout
codebook_definition: CODEBOOK NAME _EQUALS list

function: FUNC FUNCTION_NAME _LPAR params _RPAR settings block
params: (param (_COMMA param)*)?
param: VALUE _COLON type
settings: (setting (_COMMA setting)*)?
setting: name _EQUALS (expr | list)

block: _LBRACE (statement _NEWLINE)* statement? _RBRACE
?statement: instruction | for | while | if | break | return | warp_group | single_thread

for: FOR VALUE IN expr TO expr step unroll block
step: (STEP expr)?
unroll: (UNROLL _EQUALS expr)?
while: WHILE expr block
if: IF expr block (ELSE (block | if))?
break: BREAK
return: RETURN
warp_group: WARP_GROUP expr TO expr block
single_thread: SINGLE_THREAD block

instruction: result mnemonic operands attributes annotation
result: (VALUE _EQUALS)?
mnemonic: NAME | AND | OR | NOT
operands: (operand (_COMMA operand)*)?
?operand: expr | indexed
indexed: VALUE list
attributes: (_LBRACE attribute (_COMMA attribute)* _NEWLINE? _RBRACE)?
attribute: name _EQUALS attribute_value
?attribute_value: expr | attribute_list | string | keyword_word | layout_reference
attribute_list: _LSQB (attribute_value (_COMMA attribute_value)* _COMMA?)? _RSQB
string: STRING
keyword_word: AND | OR
annotation: (_COLON type)?

type: pointer_type | scalar_type | tile_type
pointer_type: STAR NAME
scalar_type: NAME
tile_type: NAME LESS type_argument (_COMMA type_argument)* MORE
?type_argument: list | layout | word | named
named: name _EQUALS (list | layout)
word: NAME

layout: layout_factor ((STAR | SLASH | CARET) layout_factor)*
?layout_factor: layout_reference | layout_call | _LPAR layout _RPAR
layout_reference: LAYOUT_NAME
layout_call: (NAME | LAYOUT) _LPAR (layout_argument (_COMMA layout_argument)*)? _RPAR
layout_argument: INTEGER | layout_call | layout_list | NAME _EQUALS layout_argument
layout_list: _LSQB (layout_argument (_COMMA layout_argument)*)? _RSQB

name: NAME | STEP | TO | IN | LAYOUT | UNROLL | FOR | FUNC | CODEBOOK
list: _LSQB (expr (_COMMA expr)* _COMMA?)? _RSQB

?expr: either
?either: both | either OR both -> binary
?both: negation | both AND negation -> binary
?negation: comparison | NOT negation -> unary
?comparison: bits | bits (EQ | NE | LESS | LE | MORE | GE) bits -> binary
?bits: exclusive | bits BAR exclusive -> binary
?exclusive: common | exclusive CARET common -> binary
?common: shifted | common AMPERSAND shifted -> binary
?shifted: sum | shifted (SHL | SHR) sum -> binary
?sum: product | sum (PLUS | MINUS) product -> binary
?product: signed | product (STAR | SLASH | PERCENT) signed -> binary
?signed: primary | MINUS signed -> unary
?primary: INTEGER -> integer
    | FLOAT -> float
    | VALUE -> reference
    | NAME -> word
    | NAME _LPAR (expr (_COMMA expr)*)? _RPAR -> call
    | _LPAR expr _RPAR -> group
"""

GRAMMAR = f"{RULES}\n%declare {' '.join(TERMINALS)}\n"
