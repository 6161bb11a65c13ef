package dataset

import (
	"bytes"
	"context"
	"encoding/json"
	"io"

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
	header, err := jsonlHeader(o.ctx, o.src, o.input)
	if err != nil {
		return nil, nil, err
	}
	if err := checkRenames(o.schema, o.input); err != nil {
		return nil, nil, err
	}
	header.bind(o.schema, keyTargets(o.schema, header.Columns, o.input))
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

// checkRenames checks input.columns as far as a file without a header allows.
func checkRenames(s *Schema, input modelmanager.JobInput) error {
	b := &binder{schema: s, input: input}
	b.checkMapping()
	taken := map[string]string{}
	for _, field := range s.Fields() {
		key := defaultTo(input.Columns[field.Name], field.Name)
		if other, ok := taken[key]; ok {
			b.invalid = append(b.invalid, "the key "+quote([]byte(key))+" is meant for two features, "+
				quote([]byte(other))+" and "+quote([]byte(field.Name))+"; correct input.columns")
		}
		taken[key] = field.Name
	}
	return b.err()
}

// keyTargets finds which keys are features.
func keyTargets(s *Schema, keys []string, input modelmanager.JobInput) *binding {
	features := map[string]int{}
	for i, field := range s.Fields() {
		features[defaultTo(input.Columns[field.Name], field.Name)] = i
	}
	b := &binding{}
	for _, key := range keys {
		to := through
		if feature, ok := features[key]; ok {
			to.feature = feature
		}
		b.targets = append(b.targets, to)
	}
	return b
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

// jsonlHeader collects the keys of the first rows, in order of appearance.
func jsonlHeader(ctx context.Context, src Source, input modelmanager.JobInput) (*Header, error) {
	scanner, closer, marked, err := openScanner(ctx, headOf(src), input, 0, -1)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	header := &Header{bom: marked, newline: "\n"}
	seen := map[string]bool{}
	for range jsonlHeaderRows {
		raw, err := scanner.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if scanner.recordOffset > 4*sniffBytes {
			break
		}
		if scanner.newline != "" {
			header.newline = scanner.newline
		}
		_ = eachKey(raw, func(key string, _ json.RawMessage) {
			if !seen[key] {
				seen[key] = true
				header.Columns = append(header.Columns, key)
			}
		})
	}
	return header, nil
}

// eachKey visits the keys of a JSON object in their order.
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
	return nil
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
