package spec

import (
	"regexp"
	"slices"
)

// shapeKind is what a value of model.yaml must be.
type shapeKind int

const (
	shapeAny     shapeKind = iota // any JSON value
	shapeScalar                   // a value of a feature: null, boolean, number, text or a list of these
	shapeText                     // text, or a member of enum
	shapeBoolean                  //
	shapeInteger                  //
	shapeNumber                   //
	shapeTime                     // a duration, 1m30s
	shapeCPU                      // a quantity of cores, 500m; becomes thousandths
	shapeBytes                    // a quantity of bytes, 512Mi; becomes bytes
	shapeList                     // of item
	shapeObject                   // with keys, and any others if others is set
)

// shape says what a place in model.yaml may hold. The loader and the JSON
// Schema are both made from it, so they can't disagree about it.
type shape struct {
	kind     shapeKind
	title    string // "a feature"; in messages
	doc      string
	keys     []key
	others   *shape
	item     *shape
	single   bool // an object with exactly one of its keys
	enum     []string
	pattern  *regexp.Regexp
	rule     string // the pattern in words
	min, max *float64
	above    bool // min itself is not allowed
	maxText  int  // code points; 0: maxLine
	filled   bool // not blank
	minItems int
	maxItems int
	fallback any // default, for the schema

	hint  func(n *node) string // what to write instead of a value that is wrong
	wrong map[string]string    // keys that people write, and what to do instead
}

// key is a key of an object.
type key struct {
	name     string
	as       string // its name in the spec's canonical form, where that differs
	required bool
	shape    *shape
}

const maxLine = 4096

func (s *shape) key(name string) *key {
	for i := range s.keys {
		if s.keys[i].name == name {
			return &s.keys[i]
		}
	}
	return nil
}

func (s *shape) names() []string {
	names := make([]string, len(s.keys))
	for i, key := range s.keys {
		names[i] = key.name
	}
	return names
}

// The functions below are the vocabulary in which model.go describes the file.

func object(title, doc string, keys ...key) *shape {
	return &shape{kind: shapeObject, title: title, doc: doc, keys: keys}
}

func need(name string, s *shape) key { return key{name: name, required: true, shape: s} }
func may(name string, s *shape) key  { return key{name: name, shape: s} }

func text(doc string) *shape    { return &shape{kind: shapeText, doc: doc} }
func boolean(doc string) *shape { return &shape{kind: shapeBoolean, doc: doc} }
func anything(doc string) *shape {
	return &shape{kind: shapeAny, doc: doc}
}

func oneOf(doc string, values ...string) *shape {
	return &shape{kind: shapeText, doc: doc, enum: values}
}

func integer(doc string, min, max float64) *shape {
	return &shape{kind: shapeInteger, doc: doc, min: &min, max: &max}
}

func number(doc string) *shape { return &shape{kind: shapeNumber, doc: doc} }

func share(doc string) *shape {
	zero, one := 0.0, 1.0
	return &shape{kind: shapeNumber, doc: doc, min: &zero, max: &one}
}

func duration(doc string, fallback string) *shape {
	return &shape{kind: shapeTime, doc: doc, fallback: fallback}
}

func list(doc string, item *shape) *shape {
	return &shape{kind: shapeList, doc: doc, item: item}
}

func dict(doc string, value *shape) *shape {
	return &shape{kind: shapeObject, title: "the mapping", doc: doc, others: value}
}

func (s *shape) matching(pattern, rule string) *shape {
	s.pattern, s.rule = regexp.MustCompile(pattern), rule
	return s
}

func (s *shape) notBlank() *shape                    { s.filled = true; return s }
func (s *shape) atMost(points int) *shape            { s.maxText = points; return s }
func (s *shape) items(min, max int) *shape           { s.minItems, s.maxItems = min, max; return s }
func (s *shape) byDefault(v any) *shape              { s.fallback = v; return s }
func (s *shape) hinting(f func(*node) string) *shape { s.hint = f; return s }

func (s *shape) instead(pairs ...string) *shape {
	s.wrong = map[string]string{}
	for pair := range slices.Chunk(pairs, 2) {
		s.wrong[pair[0]] = pair[1]
	}
	return s
}

func (s *shape) called(title string) *shape { s.title = title; return s }
