"""PTX text -> `ParsedModule`. Comments are blanked first; every object keeps its line number."""

from __future__ import annotations

import re
import struct
from bisect import bisect_right

from .calls import split_call
from .opcode import OpcodeError
from .operands import OperandError, RegisterTable, parse_float, parse_integer
from .syntax import (
    FunctionBody,
    Instruction,
    Operand,
    Param,
    ParsedModule,
    SourceMap,
    Symbol,
    Variable,
)
from .types import TYPES, Type

_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/', re.S)
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[.\w$%]+")
_LABEL = re.compile(r"([A-Za-z_$%][\w$]*)\s*:(?!:)")
# With its semicolon. What follows the opcode begins with no colon: that would be a label.
_INSTRUCTION = re.compile(
    r"(\s*)(?:@\s*(!?)\s*([%\w$]+)\s+)?([a-z][a-z0-9_]*(?:\.[\w:]+)*)"
    r"(?:\s+([^\s:;][^;]*))?\s*;"
)
_DECLARED = re.compile(r"\s*([%A-Za-z_$][\w$]*)\s*(?:<\s*(\d+)\s*>)?\s*\Z")
_VARIABLE = re.compile(
    r"(?:\.align\s+(\d+)\s+)?\.(\w+)\s+(?:\.ptr\s+)?(?:\.(?:global|shared|const|local)\s+)?"
    r"(?:\.align\s+(\d+)\s+)?([\w$%]+)\s*((?:\[\s*\w*\s*\]\s*)*)(?:=\s*(.*))?\Z",
    re.S,
)
_LOC = re.compile(r"\.loc\s+(\d+)\s+(\d+)(?:\s+\d+)?(?:\s*,[^\n]*)?")
_FILE = re.compile(r'\.file\s+(\d+)\s+"([^"\n]*)"[^\n]*')
_IGNORED_LINES = (".version", ".target", ".address_size", ".file", ".loc")


def parse(text: str) -> ParsedModule:
    """Parses a module. Raises EmulatorError naming the line of the first thing it can't read."""
    return _Parser(text).module()


def _blank(match: re.Match[str]) -> str:
    found = match[0]
    if found[0] == '"':
        return found
    return "\n" * found.count("\n") or " "


class _Parser:
    def __init__(self, text: str) -> None:
        self.source = SourceMap(text)
        self.text = _COMMENT.sub(_blank, text) if "/" in text else text
        self.position = 0
        self.version = ""
        self.target = ""
        self.functions: dict[str, FunctionBody] = {}
        self.variables: dict[str, Variable] = {}
        self.ends = [match.start() for match in re.finditer("\n", self.text)]
        self.space_used = {"shared": 0, "global": 0, "local": 0}

    def line(self, position: int | None = None) -> int:
        return bisect_right(self.ends, (self.position if position is None else position) - 1) + 1

    def fail(self, message: str, position: int | None = None) -> Exception:
        return self.source.error(self.line(position), message)

    # ---- module level

    def module(self) -> ParsedModule:
        while (word := self.peek()) is not None:
            if word in _IGNORED_LINES:
                self.line_directive(word)
            elif word in (".entry", ".func"):
                self.function(word)
            elif word in (".visible", ".extern", ".weak", ".common"):
                self.linkage(word)
            elif word in (".global", ".const", ".shared"):
                self.variable(word[1:], self.variables, external=False)
            elif word in (".pragma", ".alias"):
                self.until(";")
            elif word == ".section":
                self.until("}")
            else:
                raise self.fail(f"unknown directive `{word}`")
        return ParsedModule(self.version, self.target, self.functions, self.variables, self.source)

    def peek(self) -> str | None:
        self.skip()
        if self.position >= len(self.text):
            return None
        match = _WORD.match(self.text, self.position)
        return match[0] if match else self.text[self.position]

    def skip(self) -> None:
        match = _SPACE.match(self.text, self.position)
        assert match is not None
        self.position = match.end()

    def until(self, end: str) -> str:
        """The text up to `end`, which is passed over too."""
        where = self.text.find(end, self.position)
        if where < 0:
            raise self.fail(f"`{end}` is missing")
        found = self.text[self.position : where]
        self.position = where + 1
        return found

    def line_directive(self, word: str) -> None:
        start = self.position
        end = self.text.find("\n", start)
        end = len(self.text) if end < 0 else end
        if word == ".loc" and (match := _LOC.match(self.text, start)):
            self.source.locations.append((self.line(), int(match[1]), int(match[2])))
            end = match.end()
        elif word == ".file" and (match := _FILE.match(self.text, start)):
            self.source.files[int(match[1])] = match[2]
        elif word == ".version":
            self.version = self.text[start + len(word) : end].strip()
        elif word == ".target":
            self.target = self.text[start + len(word) : end].strip()
        self.position = end

    def linkage(self, word: str) -> None:
        self.position += len(word)
        following = self.peek()
        if following in (".global", ".const", ".shared"):
            self.variable(following[1:], self.variables, external=word == ".extern")

    def variable(self, space: str, table: dict[str, Variable], external: bool) -> None:
        start = self.position
        self.position += len(space) + 1
        declaration = self.until(";").strip()
        match = _VARIABLE.match(declaration)
        if match is None or match[2] not in TYPES:
            raise self.fail(f"unreadable `.{space}` declaration", start)
        type_ = TYPES[match[2]]
        width = max(type_.bits // 8, 1)
        align = int(match[1] or match[3] or width)
        count = 1
        for extent in re.findall(r"\[\s*(\w*)\s*\]", match[5]):
            count *= (parse_integer(extent) or 0) if extent else 0
        data = self.initial(match[6], type_, start) if match[6] else None
        size = max(count * width, len(data) if data else 0)
        pool = "global" if space == "const" else space
        offset = -(-self.space_used[pool] // align) * align
        self.space_used[pool] = offset + size
        dynamic = external and space == "shared"
        table[match[4]] = Variable(match[4], space, offset, size, align, dynamic, data)

    def initial(self, text: str, type_: Type, start: int) -> bytes:
        data = b""
        for item in text.strip().strip("{}").split(","):
            integer, real = parse_integer(item.strip()), parse_float(item.strip())
            if integer is not None:
                data += (integer % (1 << type_.bits)).to_bytes(type_.bits // 8, "little")
            elif real is not None and type_.bits == real.width:
                data += real.bits.to_bytes(type_.bits // 8, "little")
            elif real is not None and type_.bits == 32:
                data += struct.pack("<f", struct.unpack("<d", real.bits.to_bytes(8, "little"))[0])
            else:
                raise self.fail(f"unreadable initial value `{item.strip()}`", start)
        return data

    # ---- functions

    def function(self, word: str) -> None:
        start = self.position
        self.position += len(word)
        returns = ""
        self.skip()
        if self.text[self.position] == "(":
            self.position += 1
            returns = self.until(")")
        name = self.peek()
        if name is None:
            raise self.fail("a function's name is missing", start)
        self.position += len(name)
        self.skip()
        params: tuple[Param, ...] = ()
        if self.text[self.position : self.position + 1] == "(":
            self.position += 1
            params = self.params(self.until(")"), start)
        cluster, limits = None, {}
        while (directive := self.peek()) not in ("{", ";", None):
            if directive is None or directive[0] != ".":
                raise self.fail(f"unexpected `{directive}` in a function's head")
            end = re.compile(r"[^\n.{;]*").match(self.text, self.position + len(directive))
            assert end is not None
            if directive == ".reqnctapercluster":
                cluster = self.cluster(end[0], start)
            if directive in (".maxnreg", ".minnctapersm"):
                limits[directive[1:]] = parse_integer(end[0].strip()) or 0
            self.position = end.end()
        declared_only = directive == ";"
        self.position += 1
        if declared_only:
            return
        if word == ".func" or returns:
            raise self.fail("a `.func` with a body is not supported", start)
        body = FunctionBody(name, self.line(start), params, cluster=cluster, limits=limits)
        self.space_used["local"] = 0
        _BodyParser(self, body).run()
        self.functions[name] = body

    def cluster(self, text: str, start: int) -> tuple[int, int, int]:
        extents = [parse_integer(part.strip()) or 0 for part in text.split(",")]
        if not 1 <= len(extents) <= 3 or min(extents) < 1:
            raise self.fail(f"unreadable extents `{text.strip()}` of clusters", start)
        x, y, z = (*extents, 1, 1)[:3]
        return x, y, z

    def params(self, text: str, start: int) -> tuple[Param, ...]:
        found: list[Param] = []
        offset = 0
        for item in filter(None, (part.strip() for part in text.split(","))):
            match = _VARIABLE.match(re.sub(r"^\.param\s+|\.ptr\b", "", item).strip())
            if match is None or match[2] not in TYPES:
                raise self.fail(f"unreadable parameter `{item}`", start)
            type_ = TYPES[match[2]]
            width = max(type_.bits // 8, 1)
            count = 1
            for extent in re.findall(r"\[\s*(\w*)\s*\]", match[5]):
                count *= parse_integer(extent) or 0
            align = int(match[1] or match[3] or width) if match[5] else width
            offset = -(-offset // align) * align
            found.append(Param(match[4], type_, offset, width * count))
            offset += width * count
        return tuple(found)


class _BodyParser:
    """The statements between a function's braces."""

    def __init__(self, parser: _Parser, body: FunctionBody) -> None:
        self.parser = parser
        self.body = body
        self.table = RegisterTable()
        self.body.registers = self.table.registers
        self.body.specials = self.table.specials

    def run(self) -> None:
        parser, text = self.parser, self.parser.text
        depth = 1
        while depth:
            if instruction := _INSTRUCTION.match(text, parser.position):
                self.instruction(instruction)
                continue
            parser.skip()
            if parser.position >= len(text):
                raise parser.fail("`}` is missing at the end of the function")
            head = text[parser.position]
            if head == "}":
                depth -= 1
                parser.position += 1
                if depth:
                    self.table.pop()
            elif head == "{":
                depth += 1
                parser.position += 1
                self.table.push()
            elif head == ".":
                self.directive()
            elif match := _LABEL.match(text, parser.position):
                self.label(match)
            else:
                start = parser.position
                parser.until(";")
                raise parser.fail("this is no instruction", start)
        self.body.local_bytes = parser.space_used["local"]
        for name, where in self.body.labels.items():
            assert where <= len(self.body.instructions), name

    def label(self, match: re.Match[str]) -> None:
        if match[1] in self.body.labels:
            raise self.parser.fail(f"label `{match[1]}` is defined twice")
        self.body.labels[match[1]] = len(self.body.instructions)
        self.parser.position = match.end()

    def directive(self) -> None:
        parser = self.parser
        word = parser.peek()
        assert word is not None
        if word in (".loc", ".file"):
            parser.line_directive(word)
        elif word == ".reg":
            self.declare_registers(parser.position)
        elif word in (".shared", ".local", ".global", ".const"):
            parser.variable(word[1:], self.body.variables, external=False)
        elif word == ".extern":
            parser.position += len(word)
            parser.peek()
            parser.variable("shared", self.body.variables, external=True)
        elif word == ".param":  # an argument of a call: each thread has its own
            parser.variable("local", self.body.variables, external=False)
        elif word in (".pragma", ".branchtargets", ".callprototype", ".calltargets"):
            parser.until(";")
        else:
            raise parser.fail(f"unknown directive `{word}`")

    def declare_registers(self, start: int) -> None:
        parser = self.parser
        parser.position += len(".reg")
        words = parser.until(";").strip()
        match = re.match(r"\.(\w+)\s+(.*)\Z", words, re.S)
        if match is None or match[1] not in TYPES:
            raise parser.fail("unreadable `.reg` declaration", start)
        for name in match[2].split(","):
            declared = _DECLARED.match(name)
            if declared is None:
                raise parser.fail(f"`{name.strip()}` is no register name", start)
            count = int(declared[2]) if declared[2] else None
            self.table.declare(declared[1], TYPES[match[1]], count)

    def instruction(self, match: re.Match[str]) -> None:
        parser, table = self.parser, self.table
        _, negation, guard_name, opcode, text = match.groups()
        start = match.end(1)
        operands: tuple[Operand, ...] = ()
        try:
            guard = table.guard(guard_name) if guard_name else None
            if text and opcode.startswith("call"):
                operands = tuple(map(Symbol, split_call(text.rstrip())))
            elif text:
                operands = table.operands(text)
        except (OperandError, OpcodeError) as error:
            raise parser.fail(str(error), start) from None
        parser.position = match.end()
        line = parser.line(start)
        self.body.instructions.append(Instruction(opcode, operands, line, guard, negation == "!"))
