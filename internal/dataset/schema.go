package dataset

import (
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/wording"
)

// A Schema is a version's features, or its predictions, compiled once: it
// checks rows and gives them their Arrow types. It is safe for concurrent use.
type Schema struct {
	fields []modelmanager.Field
	rules  []*rule
	keys   []key
	index  map[string]int
	arrow  *arrow.Schema

	nullable *arrow.Schema // of predictions, which are null in refused rows

	builders    sync.Pool // of *Builder, for requests
	answersOnce sync.Once
	answers     *Schema // what workers' JSON is decoded with
}

// builder returns an empty builder; putBack returns it.
func (s *Schema) builder() *Builder {
	if b, ok := s.builders.Get().(*Builder); ok {
		return b
	}
	return NewBuilder(s)
}

func (s *Schema) putBack(b *Builder) {
	b.reset()
	if b.reserved() <= 4*smallRecord { // the memory of a huge request isn't kept
		s.builders.Put(b)
	}
}

// key is a column's name as JSON writes it, with the colon after it, so that
// the expected key is recognised by one comparison.
type key struct {
	name   string
	quoted string
}

// Compile checks every field, and prepares what checking rows needs. Its error
// has the code invalid_spec and names the field.
func Compile(fields []modelmanager.Field) (*Schema, error) {
	s := &Schema{
		fields: fields,
		rules:  make([]*rule, len(fields)),
		keys:   make([]key, len(fields)),
		index:  make(map[string]int, len(fields)),
	}
	columns := make([]arrow.Field, len(fields))
	for i := range fields {
		field := &fields[i]
		if field.Name == "" {
			return nil, modelmanager.Errorf(modelmanager.CodeInvalidSpec, "column %d has no name: give every feature and prediction one", i+1)
		}
		if !utf8.ValidString(field.Name) {
			return nil, modelmanager.Errorf(modelmanager.CodeInvalidSpec, "the name %q is not valid UTF-8", field.Name)
		}
		if _, ok := s.index[field.Name]; ok {
			return nil, modelmanager.Errorf(modelmanager.CodeInvalidSpec, "the name %q is used twice: every column needs its own", field.Name)
		}
		r, err := compileRule(field)
		if err != nil {
			return nil, modelmanager.Errorf(modelmanager.CodeInvalidSpec, "%s: %w", field.Name, err)
		}
		s.rules[i] = r
		s.index[field.Name] = i
		s.keys[i] = newKey(field.Name)
		columns[i] = arrow.Field{Name: field.Name, Type: r.arrow, Nullable: r.takesNull()}
	}
	s.arrow = arrow.NewSchema(columns, nil)
	nullable := slices.Clone(columns)
	for i := range nullable {
		nullable[i].Nullable = true
	}
	s.nullable = arrow.NewSchema(nullable, nil)
	return s, s.compileDefaults()
}

// compileDefaults keeps every default as the JSON that would have set it, and
// checks it as if a caller had sent it.
func (s *Schema) compileDefaults() error {
	for i := range s.fields {
		if s.fields[i].Default == nil {
			continue
		}
		text, err := appendAny(nil, s.rules[i], s.fields[i].Default.Value)
		if err != nil {
			return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "%s: the default: %w", s.fields[i].Name, err)
		}
		s.rules[i].preset = text
		if string(text) == "null" {
			continue // a null default allows null where the key is absent, whatever nullable says
		}
		b := NewBuilder(s)
		b.SetValue(i, text)
		if len(b.problems) > 0 {
			return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "%s: the default: %s", s.fields[i].Name, b.problems[0].Message)
		}
	}
	return nil
}

func newKey(name string) key {
	return key{name: name, quoted: string(append(appendString(nil, name), ':'))}
}

// Fields returns the fields that the schema was compiled from. They must not be changed.
func (s *Schema) Fields() []modelmanager.Field { return s.fields }

// Arrow returns the types of the schema's records.
func (s *Schema) Arrow() *arrow.Schema { return s.arrow }

// Index returns the position of the column of that name.
func (s *Schema) Index(name string) (int, bool) {
	i, ok := s.index[name]
	return i, ok
}

// Nearest returns the column whose name is nearest to name, for suggestions;
// "" if none is near.
func (s *Schema) Nearest(name string) string {
	names := make([]string, len(s.fields))
	for i := range s.fields {
		names[i] = s.fields[i].Name
	}
	return nearest(name, names)
}

// nearest compares without case, blanks and punctuation first: those are the
// commonest differences between a header and a feature's name.
func nearest(name string, names []string) string {
	const longest = 100 // a longer name is no typing error, and the distance is quadratic
	if name == "" || len(name) > longest {
		return ""
	}
	wanted := simplify(name)
	best, bestDistance := "", -1
	for _, candidate := range names {
		if len(candidate) > longest {
			continue
		}
		simple := simplify(candidate)
		if simple == wanted && wanted != "" {
			return candidate
		}
		limit := max(1, min(utf8.RuneCountInString(wanted), utf8.RuneCountInString(simple))/3)
		if d := wording.Distance(wanted, simple, limit+1); d <= limit && (bestDistance < 0 || d < bestDistance) {
			best, bestDistance = candidate, d
		}
	}
	return best
}

func simplify(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case ' ', '_', '-', '.':
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}
