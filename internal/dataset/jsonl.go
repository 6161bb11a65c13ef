package dataset

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	modelmanager "modelmanager.dev"
)

// jsonlHeaderRows is how many rows are looked at for their keys.
const jsonlHeaderRows = 1000

// jsonlDecoder turns lines into rows.
type jsonlDecoder struct {
	builder  *Builder
	header   *Header
	optional []int // features that a row may lack
}

func (o opening) openJSONL() (*Header, batchSource, error) {
	header, objects, err := jsonlHeader(o.ctx, o.src, o.input)
	if err != nil {
		return nil, nil, err
	}
	bound, err := bindKeys(o.schema, header.Columns, objects > 0, o.input)
	if err != nil {
		return nil, nil, err
	}
	header.bind(o.schema, bound)
	if o.slice.Offset == 0 && o.slice.Length >= 0 && o.slice.Rows == 0 {
		o.slice.Length = -1
	}
	scanner, closer, _, err := openScanner(o.ctx, o.src, o.input, o.slice.Offset, o.slice.Length)
	if err != nil {
		return nil, nil, err
	}
	return header, newTextSource(o, scanner, closer, func() textDecoder {
		d := &jsonlDecoder{builder: NewBuilder(o.schema), header: header}
		d.builder.PassExtra(func(_, _ []byte) {}) // Extra keeps the whole line
		if len(o.input.Columns) > 0 {
			d.builder.Rename(o.input.Columns)
		}
		for i, field := range o.schema.Fields() {
			if field.Optional && field.Default == nil {
				d.optional = append(d.optional, i)
			}
		}
		return d
	}), nil
}

// bindKeys finds which keys are features. Keys are those of the first rows: a
// feature that none of them has is missing from the file, as a column would be,
// unless known is false, because none of them could be read.
func bindKeys(s *Schema, keys []string, known bool, input modelmanager.JobInput) (*binding, error) {
	b := &binder{schema: s, columns: keys, input: input, keys: true}
	b.checkMapping()
	features := map[string]int{}
	for i, field := range s.Fields() {
		key := defaultTo(input.Columns[field.Name], field.Name)
		if other, ok := features[key]; ok {
			b.invalid = append(b.invalid, "the key "+quote([]byte(key))+" is meant for two features, "+
				quote([]byte(s.Fields()[other].Name))+" and "+quote([]byte(field.Name))+"; correct input.columns")
		}
		features[key] = i
	}
	for _, key := range keys {
		to := through
		if feature, ok := features[key]; ok {
			to.feature = feature
		}
		b.result.targets = append(b.result.targets, to)
	}
	for _, field := range s.Fields() {
		header, mapped := input.Columns[field.Name]
		switch {
		case !known || slices.Contains(keys, defaultTo(header, field.Name)):
		case mapped:
			b.lacks(field.Name, fmt.Sprintf("input.columns maps it to %q, and none of the first rows has this key", header), header)
		case !field.Optional:
			b.lacks(field.Name, "none of the first rows has this key", field.Name)
		}
	}
	if err := b.err(); err != nil {
		return nil, err
	}
	return &b.result, nil
}

func (d *jsonlDecoder) decode(block *textBlock) (*Batch, error) {
	extra := Extra{header: d.header, json: block}
	c := newRowCollector(d.builder, block.firstRow)
	for i := range block.rows() {
		d.builder.SetJSON(block.row(i))
		for _, feature := range d.optional {
			d.builder.setAbsent(feature)
		}
		c.endRow(RefuseAbsent, &extra)
	}
	return c.finish(extra), nil
}

// setAbsent fills an optional feature that the row lacks with null.
func (b *Builder) setAbsent(feature int) {
	if b.seen[feature] == b.row || b.problems != nil {
		return
	}
	b.seen[feature] = b.row
	b.count++
	b.columns[feature].appendNull()
	b.filled[feature]++
}

// jsonlHeader collects the keys of the first rows, in order of appearance, and
// counts those rows that are objects.
func jsonlHeader(ctx context.Context, src Source, input modelmanager.JobInput) (header *Header, objects int, err error) {
	scanner, closer, marked, err := openScanner(ctx, headOf(src), input, 0, -1)
	if err != nil {
		return nil, 0, err
	}
	defer closer.Close()
	header = &Header{bom: marked, newline: "\n"}
	seen := map[string]bool{}
	for range jsonlHeaderRows {
		raw, err := scanner.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		if scanner.recordOffset > 4*sniffBytes {
			break
		}
		if scanner.newline != "" {
			header.newline = scanner.newline
		}
		err = eachKey(raw, func(key string, _ json.RawMessage) {
			if !seen[key] {
				seen[key] = true
				header.Columns = append(header.Columns, key)
			}
		})
		if err == nil {
			objects++
		}
	}
	return header, objects, nil
}

// eachKey visits the keys of a JSON object in their order; its error comes after
// the keys that could be read.
func eachKey(raw []byte, visit func(key string, value json.RawMessage)) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	token, err := decoder.Token()
	if err != nil {
		return err
	}
	if token != json.Delim('{') {
		return modelmanager.Errorf(modelmanager.CodeInvalidRows, "the row is no JSON object")
	}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		key, _ := token.(string)
		visit(key, value)
	}
	_, err = decoder.Token() // the closing brace
	return err
}

// jsonValues returns an object's values in the order of columns; ok is false
// if it is no object, or has a key that is no column.
func jsonValues(dst []value, raw []byte, columns []string) ([]value, bool) {
	found := map[string]value{}
	if err := eachKey(raw, func(key string, v json.RawMessage) { found[key] = valueOf(v) }); err != nil {
		return dst, false
	}
	known := 0
	for _, column := range columns {
		v, ok := found[column]
		if ok {
			known++
		}
		dst = append(dst, v)
	}
	return dst, known == len(found)
}

// valueOf classifies a JSON value.
func valueOf(raw json.RawMessage) value {
	switch raw[0] {
	case 'n':
		return value{}
	case 't', 'f':
		return value{kind: valueBool, text: raw}
	case '"':
		var text string
		_ = json.Unmarshal(raw, &text) // the decoder has checked it
		return value{kind: valueText, text: []byte(text)}
	case '{', '[':
		return value{kind: valueJSON, text: raw}
	default:
		return value{kind: valueNumber, text: raw}
	}
}
