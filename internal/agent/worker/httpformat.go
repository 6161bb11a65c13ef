package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
)

// encode writes rows in the format that the server wants, in the spec's
// envelope:
//
//	rows             {"rows": [{…}, …]}
//	columns          {"columns": {"name": […], …}}
//	instances        {"instances": [{…}, …]}
//	dataframe_split  {"dataframe_split": {"columns": […], "data": [[…], …]}}
//	v2               {"id": "7", "inputs": [{"name", "shape", "datatype", "data"}, …]}
//	csv              a header and rows
func (s *httpSession) encode(rows arrow.RecordBatch) (body []byte, contentType string, err error) {
	features := s.options.Features
	format := s.run.Format
	if format == "csv" {
		body, err := appendCSV(appendCSVHeader(nil, features), features, rows)
		return body, "text/csv", err
	}
	b, err := openEnvelope(s.run.Envelope)
	if err != nil {
		return nil, "", err
	}
	switch format {
	case "columns":
		b = append(b, `"columns":`...)
		b = features.AppendColumns(b, rows)
	case "instances":
		b = append(b, `"instances":`...)
		b = features.AppendRows(b, rows)
	case "dataframe_split":
		if b, err = appendSplit(b, features.Fields(), features.AppendRows(nil, rows)); err != nil {
			return nil, "", err
		}
	case "v2":
		b = append(b, `"id":"`...)
		b = strconv.AppendInt(b, s.id, 10)
		b = append(b, `",`...)
		if b, err = appendTensors(b, features.Fields(), features.AppendColumns(nil, rows), rows.NumRows()); err != nil {
			return nil, "", err
		}
	default:
		b = append(b, `"rows":`...)
		b = features.AppendRows(b, rows)
	}
	return append(b, '}'), "application/json", nil
}

// openEnvelope begins a JSON object with the envelope's members.
func openEnvelope(envelope map[string]any) ([]byte, error) {
	b := []byte{'{'}
	for _, name := range slices.Sorted(maps.Keys(envelope)) {
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(envelope[name])
		if err != nil {
			return nil, fmt.Errorf("writing run.http.envelope: %w", err)
		}
		b = append(append(append(append(b, key...), ':'), value...), ',')
	}
	return b, nil
}

// appendSplit turns a list of objects into a pandas split.
func appendSplit(b []byte, fields []modelmanager.Field, rows []byte) ([]byte, error) {
	names := make([]string, len(fields))
	for i, field := range fields {
		names[i] = field.Name
	}
	header, err := json.Marshal(names)
	if err != nil {
		return nil, err
	}
	b = append(append(append(b, `"dataframe_split":{"columns":`...), header...), `,"data":[`...)
	objects, err := elements(rows)
	if err != nil {
		return nil, err
	}
	for i, object := range objects {
		if i > 0 {
			b = append(b, ',')
		}
		first := true
		b = append(b, '[')
		err := members(object, '{', func(_, value []byte) error {
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(b, value...)
			return nil
		})
		if err != nil {
			return nil, err
		}
		b = append(b, ']')
	}
	return append(b, "]}"...), nil
}

// datatype is a field's type in the Open Inference Protocol.
func datatype(field modelmanager.Field) string {
	switch field.Type {
	case modelmanager.Boolean:
		return "BOOL"
	case modelmanager.Integer:
		return "INT64"
	case modelmanager.Number:
		return "FP64"
	case modelmanager.Array:
		if field.Items != nil {
			return datatype(*field.Items)
		}
	}
	return "BYTES"
}

// appendTensors turns columns into inputs of the Open Inference Protocol. An
// array of fixed length is a second dimension.
func appendTensors(b []byte, fields []modelmanager.Field, columns []byte, n int64) ([]byte, error) {
	b = append(b, `"inputs":[`...)
	i := 0
	err := members(columns, '{', func(key, value []byte) error {
		if i > 0 {
			b = append(b, ',')
		}
		field := fields[i]
		i++
		b = append(append(append(b, `{"name":`...), key...), `,"shape":[`...)
		b = strconv.AppendInt(b, n, 10)
		if field.Type == modelmanager.Array && field.Length != nil {
			b = append(b, ',')
			b = strconv.AppendInt(b, int64(*field.Length), 10)
		}
		b = append(append(append(b, `],"datatype":"`...), datatype(field)...), `","data":`...)
		if field.Type == modelmanager.Integer && field.Format == modelmanager.FormatInt64 {
			value = bytes.ReplaceAll(value, []byte{'"'}, nil)
		}
		b = append(append(b, value...), '}')
		return nil
	})
	return append(b, ']'), err
}

// tensor is an output of the Open Inference Protocol.
type tensor struct {
	Name  string          `json:"name"`
	Shape []int           `json:"shape"`
	Data  json.RawMessage `json:"data"`
}

// fromTensors makes predictions of outputs: by name; or, of a single output,
// its columns in order.
func fromTensors(data json.RawMessage, fields []modelmanager.Field, n int) (json.RawMessage, error) {
	var outputs []tensor
	if err := json.Unmarshal(data, &outputs); err != nil {
		return nil, invalid("the server's outputs can't be read: %w", err)
	}
	if len(outputs) == 1 && (len(fields) != 1 || outputs[0].Name != fields[0].Name) {
		return outputs[0].rows(n, len(fields) == 1 && fields[0].Type != modelmanager.Array)
	}
	b := []byte{'{'}
	for i, output := range outputs {
		values, err := output.rows(n, true)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		key, err := json.Marshal(output.Name)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, key...), ':'), values...)
	}
	return append(b, '}'), nil
}

// rows returns a tensor's data as one value a row: a scalar, or where a row
// has several, or flat is not set, a list.
func (t *tensor) rows(n int, flat bool) (json.RawMessage, error) {
	values, err := elements(t.Data)
	if err != nil {
		return nil, invalid("the data of the output %s is no list", t.Name)
	}
	if len(t.Shape) == 0 || t.Shape[0] != n {
		return nil, invalid("the output %s has the shape %v for %s", t.Name, t.Shape, countRows(int64(n)))
	}
	if len(values) > 0 && values[0][0] == '[' {
		return t.Data, nil // nested already
	}
	width := 1
	for _, d := range t.Shape[1:] {
		if d < 0 || d > len(values) {
			return nil, invalid("the output %s has the shape %v, and %d values", t.Name, t.Shape, len(values))
		}
		width *= d
	}
	if len(values) != n*width {
		return nil, invalid("the output %s has the shape %v, and %d values", t.Name, t.Shape, len(values))
	}
	if len(t.Shape) == 1 || flat && width == 1 {
		return t.Data, nil
	}
	b := []byte{'['}
	for row := range n {
		if row > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '['), bytes.Join(rawBytes(values[row*width:(row+1)*width]), []byte{','})...), ']')
	}
	return append(b, ']'), nil
}

func rawBytes(values []json.RawMessage) [][]byte {
	list := make([][]byte, len(values))
	for i, v := range values {
		list[i] = v
	}
	return list
}
