package spec

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// What a model.yaml may be at most. A published spec is at most 256 KiB; the
// file may have comments beside it.
const (
	maxFile  = 512 << 10
	maxDepth = 40     // of nesting; a real file has some six levels
	maxNodes = 200000 // with aliases written out
	maxKeys  = 10000  // of one mapping: an example has one for each feature
)

// readTree reads a file into a tree of nodes, or says why it can't be read. A
// tree comes with problems where keys are there twice.
func readTree(name string, data []byte) (root *node, problems Problems) {
	src := &source{name: name, lines: []string{""}}
	if len(data) > maxFile {
		return nil, Problems{tooLarge(name, int64(len(data)))}
	}
	text, problem := decodeText(name, data)
	if problem != nil {
		return nil, Problems{*problem}
	}
	src = newSource(name, text)
	defer func() {
		// The parser is not ours, and the file may be anybody's.
		if r := recover(); r != nil {
			root, problems = nil, Problems{place{source: src, line: 1, column: 1}.problem("", "this is not YAML that can be read", "write it anew from the output of `mm init`")}
		}
	}()
	tokens := lexer.Tokenize(strings.ReplaceAll(text, "\r\n", "\n"))
	if problem, heavy := tooHeavy(src, tokens); heavy {
		return nil, Problems{problem}
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		if problem, found := unclosed(src, tokens); found {
			return nil, Problems{problem}
		}
		return nil, Problems{syntaxProblem(src, err)}
	}
	return fromDocuments(src, file)
}

func tooLarge(name string, size int64) Problem {
	return place{}.file(name, fmt.Sprintf("the file has %d KiB; a model.yaml has at most %d KiB", (size+1023)>>10, maxFile>>10), "keep data and model files beside it, not in it")
}

// decodeText checks that data is text that YAML allows, and takes a byte order
// mark off.
func decodeText(name string, data []byte) (string, *Problem) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		problem := place{}.file(name, "the file is UTF-16, not UTF-8", "save it as UTF-8: in Windows' editors, “Save as … Encoding: UTF-8”")
		problem.Line, problem.Column = 1, 1
		return "", &problem
	}
	src := newSource(name, string(data))
	for i, line := range src.lines {
		column := 0
		for j := 0; j < len(line); {
			r, size := utf8.DecodeRuneInString(line[j:])
			column++
			at := place{source: src, line: i + 1, column: column}
			if r == utf8.RuneError && size == 1 {
				problem := at.problem("", fmt.Sprintf("byte 0x%02x is not UTF-8", line[j]), "save the file as UTF-8")
				problem.Snippet = strings.ToValidUTF8(problem.Snippet, "�")
				return "", &problem
			}
			if r < ' ' && r != '\t' && r != '\r' || r == 0x7f || r == 0xfeff {
				problem := at.problem("", fmt.Sprintf("the invisible character U+%04X is not allowed here", r), "delete it")
				return "", &problem
			}
			j += size
		}
	}
	return string(data), nil
}

// file makes a problem about a file as a whole.
func (place) file(name, message, suggestion string) Problem {
	return Problem{File: name, Message: message, Suggestion: suggestion}
}

// tooHeavy looks for what would cost the parser too much: it goes down each
// level of nesting by a call of itself, and takes time that grows with the
// square of a mapping's keys. It may count too much, never too little.
func tooHeavy(src *source, tokens token.Tokens) (Problem, bool) {
	type level struct{ column, keys int }
	var levels []level
	var flow []int // keys of each open bracket
	chain := 0
	tooMany := func(t *token.Token) (Problem, bool) {
		return tokenPlace(src, t).problem("", "this mapping has too many keys", fmt.Sprintf("a mapping has at most %d", maxKeys)), true
	}
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow = append(flow, 0)
		case token.SequenceEndType, token.MappingEndType:
			flow = flow[:max(len(flow)-1, 0)]
		case token.SequenceEntryType, token.MappingValueType, token.MappingKeyType:
			if len(flow) > 0 {
				flow[len(flow)-1]++
				if flow[len(flow)-1] > maxKeys {
					return tooMany(t)
				}
				break
			}
			column := t.Position.Column
			if t.Type == token.MappingValueType && t.Prev != nil && t.Prev.Position.Line == t.Position.Line {
				column = t.Prev.Position.Column
			}
			for len(levels) > 0 && levels[len(levels)-1].column > column {
				levels = levels[:len(levels)-1]
			}
			if len(levels) == 0 || levels[len(levels)-1].column < column {
				levels = append(levels, level{column: column})
			}
			if t.Type == token.MappingValueType {
				levels[len(levels)-1].keys++
			}
			if levels[len(levels)-1].keys > maxKeys {
				return tooMany(t)
			}
		}
		switch t.Type {
		case token.AnchorType, token.TagType, token.AliasType, token.MappingKeyType:
			chain++
		case token.StringType:
		default:
			chain = 0
		}
		if len(flow) > maxDepth || len(levels) > 2*maxDepth || chain > maxDepth {
			return tokenPlace(src, t).problem("", "the nesting is too deep", fmt.Sprintf("a model.yaml nests at most %d levels", maxDepth)), true
		}
	}
	return Problem{}, false
}

func tokenPlace(src *source, t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{source: src, line: 1, column: 1}
	}
	width := utf8.RuneCountInString(strings.TrimSpace(t.Origin))
	if first, _, many := strings.Cut(strings.TrimSpace(t.Origin), "\n"); many {
		width = utf8.RuneCountInString(first)
	}
	return place{source: src, line: t.Position.Line, column: t.Position.Column, width: width}
}

// unclosed finds the first bracket of a file that can't be read that another
// one closes, or none. The parser points at where it noticed.
func unclosed(src *source, tokens token.Tokens) (Problem, bool) {
	var open []*token.Token
	missing := func(t *token.Token) (Problem, bool) {
		at := tokenPlace(src, t)
		at.width = 1
		if t.Type == token.SequenceStartType {
			return at.problem("", "the list that begins here has no closing ]", "close it with ]"), true
		}
		return at.problem("", "the mapping that begins here has no closing }", "close it with }"), true
	}
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open = append(open, t)
		case token.SequenceEndType, token.MappingEndType:
			if len(open) == 0 {
				at := tokenPlace(src, t)
				at.width = 1
				return at.problem("", "this bracket closes nothing", "delete it"), true
			}
			last := open[len(open)-1]
			if (last.Type == token.SequenceStartType) != (t.Type == token.SequenceEndType) {
				return missing(last)
			}
			open = open[:len(open)-1]
		case token.InvalidType:
			return Problem{}, false
		}
	}
	if len(open) > 0 {
		return missing(open[len(open)-1])
	}
	return Problem{}, false
}

func fromDocuments(src *source, file *ast.File) (*node, Problems) {
	start := place{source: src, line: 1, column: 1}
	var bodies []ast.Node
	for _, document := range file.Docs {
		if document.Body == nil {
			continue
		}
		if directive, ok := document.Body.(*ast.DirectiveNode); ok {
			at := tokenPlace(src, directive.GetToken())
			return nil, Problems{at.problem("", "YAML directives are not supported", "delete the line that begins with %")}
		}
		bodies = append(bodies, document.Body)
	}
	if len(bodies) == 0 {
		return nil, Problems{start.problem("", "the file is empty", "`mm init NAME` writes one that works")}
	}
	if len(bodies) > 1 {
		at := tokenPlace(src, firstToken(bodies[1]))
		return nil, Problems{at.problem("", "a second YAML document begins here; a model.yaml holds one", "delete the line ---, or give the other model its own folder")}
	}
	b := &builder{src: src, anchors: map[string]*node{}}
	root := b.build(bodies[0], 0)
	if len(b.problems) > 0 {
		return nil, ordered(b.problems)
	}
	if root.kind != kindObject {
		if root.kind == kindNull {
			return nil, Problems{start.problem("", "the file is empty", "`mm init NAME` writes one that works")}
		}
		return nil, Problems{root.at.problem("", "a model.yaml is a mapping of keys to values, but this is "+root.what(), "begin with `name: …`; a space must follow the colon")}
	}
	return root, b.twice
}

func firstToken(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return firstToken(n.Values[0])
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}

// syntaxHints turn the parser's words into ours: what it says, what we say,
// what to do. The first that fits is taken.
var syntaxHints = []struct{ says, message, suggestion string }{
	{"found character '\t'", "a tab can't indent YAML", "indent with spaces"},
	{"mapping value is not allowed in this context", "this colon makes a mapping where none can be", "put text that has a colon in quotes, and check the indentation of this line and the one above"},
	{"sequence end token ']' not found", "the list that begins here has no closing ]", "close it with ]"},
	{"could not find flow map content", "the mapping that begins here has no closing }", "close it with }"},
	{"could not find flow mapping end token '}'", "the mapping that begins here has no closing }", "close it with }"},
	{"reserved character", "text can't begin with this character", "put the text in quotes"},
	{"could not find end character of double-quoted text", "the text that begins here has no closing \"", "close the quotes"},
	{"could not find end character of single-quoted text", "the text that begins here has no closing '", "close the quotes; an apostrophe within single quotes is written twice"},
	{"unexpected key name", "this line is no `key: value`", "a space must follow the colon"},
	{"block sequence entries are not allowed", "a list item can't begin here", "begin each item on its own line: - item"},
	{"directive value", "text can't begin with %", "put the text in quotes"},
	{"non-map value is specified", "this is text where keys are expected", "write `key: value`, with a space after the colon, indented like its neighbours"},
	{"value is not allowed in this context", "this can't stand here", "check the indentation, and put text with special characters in quotes"},
	{"invalid escape", "this backslash begins no known escape", "write the text in single quotes, or double the backslash"},
	{"found unknown escape character", "this backslash begins no known escape", "write the text in single quotes, or double the backslash"},
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// deeper tells whether the line below a `key: value` is a key indented deeper.
func deeper(src *source, line int) bool {
	if line >= len(src.lines) {
		return false
	}
	above, below := src.lines[line-1], src.lines[line]
	return strings.Count(above, ": ") < 2 && indent(below) > indent(above) && strings.Contains(below, ":")
}

func tokenOf(err yaml.Error) *token.Token {
	if err == nil {
		return nil
	}
	return err.GetToken()
}

func syntaxProblem(src *source, err error) Problem {
	at, message := place{source: src, line: 1, column: 1}, err.Error()
	var syntax yaml.Error
	if errors.As(err, &syntax) {
		at, message = tokenPlace(src, syntax.GetToken()), syntax.GetMessage()
		at.width = 1
	}
	at = at.clamped()
	if line := src.lines[at.line-1]; strings.Contains(line[:len(line)-len(strings.TrimLeft(line, " \t"))], "\t") {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		at.column = indent + 1
		return at.problem("", syntaxHints[0].message, syntaxHints[0].suggestion)
	}
	if strings.Contains(message, "not allowed in this context") && deeper(src, at.line) {
		below := place{source: src, line: at.line + 1, column: indent(src.lines[at.line]) + 1}
		return below.problem("", "this line is indented deeper than the one above, which has a value already", "indent it like its neighbours")
	}
	if t := tokenOf(syntax); t != nil && t.Prev != nil && (t.Prev.Type == token.SingleQuoteType || t.Prev.Type == token.DoubleQuoteType) && t.Type == token.StringType {
		return at.problem("", "the text in quotes ends before this", "within single quotes, an apostrophe is written twice: ''; within double quotes, a quote is written \\\"")
	}
	for _, hint := range syntaxHints {
		if strings.Contains(message, hint.says) {
			return at.problem("", hint.message, hint.suggestion)
		}
	}
	return at.problem("", "this is not valid YAML: "+message, "check indentation, quotes and brackets around here")
}
