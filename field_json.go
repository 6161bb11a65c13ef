package modelmanager

import (
	"bytes"
	"encoding/json"
	"math"
)

// MarshalJSON writes the value itself.
func (d Default) MarshalJSON() ([]byte, error) { return json.Marshal(d.Value) }

// UnmarshalJSON reads the value itself; null is a value like any other.
func (d *Default) UnmarshalJSON(data []byte) error {
	v, err := decodeScalar(data)
	d.Value = v
	return err
}

// UnmarshalJSON reads a field. It exists because encoding/json takes a null
// default for an absent one, and reads every number of an enum as a float64.
func (f *Field) UnmarshalJSON(data []byte) error {
	type plain Field
	raw := struct {
		*plain
		Default json.RawMessage   `json:"default"`
		Enum    []json.RawMessage `json:"enum"`
	}{plain: (*plain)(f)}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	f.Default, f.Enum = nil, nil
	if raw.Default != nil {
		f.Default = new(Default)
		if err := f.Default.UnmarshalJSON(raw.Default); err != nil {
			return err
		}
	}
	for _, value := range raw.Enum {
		v, err := decodeScalar(value)
		if err != nil {
			return err
		}
		f.Enum = append(f.Enum, v)
	}
	return nil
}

// decodeScalar decodes a JSON value, whole numbers as int64.
func decodeScalar(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, err
	}
	return narrow(v), nil
}

func narrow(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, err := v.Float64()
		if err != nil {
			return math.Inf(1) // out of a double's range; the spec's check refuses it
		}
		return f
	case []any:
		for i := range v {
			v[i] = narrow(v[i])
		}
	}
	return v
}
