package dataset

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
)

// Answers that workers write as JSON are decoded in two steps: here into plain
// columns of about the right types, every value nullable, and then checked by
// CheckPredictions like those that arrive as Arrow.

// answerSchema is the schema to decode answers with: types alone, no rules.
func (s *Schema) answerSchema() *Schema {
	s.answersOnce.Do(func() {
		fields := make([]modelmanager.Field, len(s.fields))
		for i := range s.fields {
			fields[i] = plainField(&s.fields[i])
		}
		plain, err := Compile(fields)
		if err != nil {
			panic("dataset: a compiled schema without its rules doesn't compile: " + err.Error())
		}
		s.answers = plain
	})
	return s.answers
}

// plainField keeps a field's type. Integers become numbers, so that 0.5 is a
// row's fault and not the whole answer's; doubles hold all that are allowed.
func plainField(f *modelmanager.Field) modelmanager.Field {
	plain := modelmanager.Field{Name: f.Name, Type: f.Type, Format: f.Format, Nullable: true}
	if f.Type == modelmanager.Integer && f.Format == "" {
		plain.Type = modelmanager.Number
	}
	if f.Items != nil {
		item := plainField(f.Items)
		plain.Items, plain.MaxItems = &item, ptrTo(maxArray)
	}
	return plain
}

func ptrTo[T any](v T) *T { return &v }

// DecodeColumns decodes a worker's answer of the form {"name": [v, …], …}, n
// values each. NaN and infinities, which some languages write, are let through
// to CheckPredictions, which refuses their rows.
func (s *Schema) DecodeColumns(n int, columns json.RawMessage) (arrow.RecordBatch, error) {
	plain := s.answerSchema()
	b := NewBuilder(plain)
	scan := scanner{data: columns, lax: true}
	if err := s.decodeColumns(n, &scan, b); err != nil {
		return nil, err
	}
	if scan.fault != "" || !scan.ended() {
		return nil, answerFault(&scan)
	}
	for i := range b.columns {
		if b.seen[i] != b.row {
			return nil, badAnswer("the answer lacks the prediction %s", s.keys[i].name)
		}
	}
	b.rows = n
	return b.Record(), nil
}

// decodeColumns leaves faults of syntax in the scanner.
func (s *Schema) decodeColumns(n int, scan *scanner, b *Builder) error {
	if scan.next() != '{' {
		scan.fail(scan.pos, "the answer is to be an object of columns, {\"%s\": […], …}; found %s", s.firstName(), scan.found())
		return nil
	}
	scan.pos++
	if scan.next() == '}' {
		scan.pos++
		return nil
	}
	for {
		key, ok := scan.text()
		if !ok {
			return nil
		}
		column, known := s.index[string(key)]
		if !known {
			return s.unknownPrediction(string(key))
		}
		if b.seen[column] == b.row {
			return badAnswer("the answer has the prediction %s twice", s.keys[column].name)
		}
		b.seen[column] = b.row
		if !scan.token(':') {
			return nil
		}
		if err := s.decodeColumn(n, scan, b, column); err != nil || scan.fault != "" {
			return err
		}
		more, ok := scan.more('}')
		if !ok || !more {
			return nil
		}
	}
}

func (s *Schema) decodeColumn(n int, scan *scanner, b *Builder, column int) error {
	name := s.keys[column].name
	if c := scan.next(); c != '[' {
		return badAnswer("prediction %s is to be an array of %d values; found %s", name, n, scan.found())
	}
	scan.pos++
	count := 0
	if scan.next() == ']' {
		scan.pos++
	} else {
		for more := true; more; {
			if count >= n {
				return badAnswer("prediction %s has more than %d values: the call had %d rows", name, n, n)
			}
			if !b.value(scan, column, b.columns[column]) {
				return nil
			}
			if b.problems != nil {
				return s.wrongType(count, b.problems[0])
			}
			count++
			var ok bool
			if more, ok = scan.more(']'); !ok {
				return nil
			}
		}
	}
	if count != n {
		return badAnswer("prediction %s has %d values: the call had %d rows", name, count, n)
	}
	return nil
}

// DecodeAnswers decodes a worker's answer row by row. A row is an object, a
// bare array of the predictions in order, or, of a single prediction, its bare
// value; null is a row that was refused, all of whose predictions are null.
func (s *Schema) DecodeAnswers(rows []json.RawMessage) (arrow.RecordBatch, error) {
	plain := s.answerSchema()
	b := NewBuilder(plain)
	for i, row := range rows {
		scan := scanner{data: row, lax: true, scratch: b.scan.scratch}
		if err := s.decodeAnswer(i, &scan, b); err != nil {
			return nil, err
		}
		if scan.fault != "" || !scan.ended() {
			return nil, answerFault(&scan)
		}
		b.scan.scratch = scan.scratch
		// An absent prediction is not a null one.
		for column := range b.columns {
			if b.seen[column] != b.row {
				return nil, badAnswer("row %d of the answer lacks the prediction %s", i, s.keys[column].name)
			}
		}
		if problems := b.EndRow(RefuseAbsent); problems != nil {
			return nil, s.wrongType(i, problems[0])
		}
	}
	return b.Record(), nil
}

func (s *Schema) decodeAnswer(row int, scan *scanner, b *Builder) error {
	switch c := scan.next(); {
	case c == 'n':
		if scan.literal("null") {
			for column := range b.columns {
				b.SetNull(column)
			}
		}
		return nil
	case c == '{':
		if b.object(scan) {
			for _, p := range b.problems {
				if p.Column < 0 {
					return s.unknownPrediction(p.Feature)
				}
			}
		}
		return nil
	case len(b.columns) == 1 && (c != '[' || s.rules[0].kind == arrayKind):
		b.first(0)
		b.value(scan, 0, b.columns[0])
		return nil
	case c == '[':
		return s.decodeBare(row, scan, b)
	}
	return badAnswer("row %d of the answer is to be an object {\"%s\": …}; it begins with %s", row, s.firstName(), scan.found())
}

// decodeBare reads a row that is an array of the predictions in order.
func (s *Schema) decodeBare(row int, scan *scanner, b *Builder) error {
	width := 0
	counting := scanner{data: scan.data, pos: scan.pos + 1, lax: true}
	if counting.next() != ']' {
		for more := true; more && counting.skip(1); width++ {
			more, _ = counting.more(']')
		}
	}
	if counting.fault != "" {
		scan.fail(counting.at, "%s", counting.fault)
		return nil
	}
	if width != len(b.columns) {
		return s.wrongWidth(width)
	}
	scan.pos++
	for column := range b.columns {
		b.first(column)
		if !b.value(scan, column, b.columns[column]) {
			return nil
		}
		scan.more(']')
	}
	return nil
}

func (s *Schema) firstName() string {
	if len(s.keys) == 0 {
		return "prediction"
	}
	return s.keys[0].name
}

func (s *Schema) wrongType(row int, p Problem) error {
	return badAnswer("row %d of the answer, prediction %s: %s", row, p.Feature, p.Message)
}

func (s *Schema) unknownPrediction(name string) error {
	if near := s.Nearest(name); near != "" {
		return badAnswer("the answer has %s, which is no prediction of the model: did you mean %s?", quote([]byte(name)), near)
	}
	return badAnswer("the answer has %s, which is no prediction of the model: name it in model.yaml or leave it out", quote([]byte(name)))
}

// wrongWidth explains an answer of so many columns without names.
func (s *Schema) wrongWidth(width int) error {
	hint := "answer the predictions in the order of model.yaml, or by name"
	switch {
	case width == 2 && len(s.keys) == 1 && s.rules[0].kind == floatKind:
		hint = "predict_proba? It answers one column a class: take [:, 1] for the probability of the second"
	case width > 1 && len(s.keys) == 1 && s.rules[0].kind == floatKind:
		hint = "predict_proba? It answers one column a class: take the class you want, such as [:, 1], or make the prediction an array of " +
			strconv.Itoa(width)
	case width == 1 && len(s.keys) == 2:
		hint = "predict_proba answers one column a class, predict only one in all"
	}
	return badAnswer("the answer has %d columns, and the model has %d predictions (%s): %s", width, len(s.keys), s.namesText(), hint)
}

func (s *Schema) namesText() string {
	const shown = 6
	var text []byte
	for i, k := range s.keys {
		if i == shown {
			return string(text) + " …"
		}
		if i > 0 {
			text = append(text, ", "...)
		}
		text = append(text, k.name...)
	}
	return string(text)
}

func badAnswer(format string, args ...any) error {
	return modelmanager.Errorf(modelmanager.CodeInvalidPredictions, format, args...)
}

func answerFault(scan *scanner) error {
	const around = 20
	at := min(scan.at, len(scan.data))
	near := bytes.ToValidUTF8(scan.data[max(0, at-around):min(len(scan.data), at+around)], nil)
	return badAnswer("the answer is not valid: %s, at byte %d, near %q", scan.fault, scan.at, near)
}
