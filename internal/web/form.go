package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"modelmanager.dev"
)

// input is a feature as a field of a form. What is typed is text; the API says
// whether it is right, so that there is one judge.
type input struct {
	modelmanager.Field
	Key      string // of the form's value: "f.weight"
	Control  string // number, text, select, check, date, datetime, list, items
	Hint     string // what is allowed, in words
	Value    string
	Options  []option
	Items    []input // of control items: an array of a fixed length
	Min, Max string
	Step     string
	Required bool
	Problems []string
}

type option struct {
	Value, Text string
	Selected    bool
}

// ID is the element's.
func (in input) ID() string { return strings.ReplaceAll(in.Key, ".", "-") }

// maxItemInputs is the longest array that gets a field for each item.
const maxItemInputs = 12

// newInputs makes a form of features, filled with their defaults.
func newInputs(features []modelmanager.Field) []input {
	inputs := make([]input, len(features))
	for i, field := range features {
		inputs[i] = newInput(field, "f."+field.Name)
		if field.Default != nil {
			if data, err := json.Marshal(field.Default.Value); err == nil {
				inputs[i].fill(data)
			}
		}
	}
	return inputs
}

func newInput(field modelmanager.Field, key string) input {
	in := input{Field: field, Key: key, Required: !field.Nullable && field.Default == nil}
	plainer := field // the form itself shows the rest
	plainer.Nullable, plainer.Default, plainer.Labels = false, nil, nil
	in.Hint = allowedWords(plainer)
	switch {
	case field.Type == modelmanager.Array && field.Items != nil && field.Length != nil && *field.Length <= maxItemInputs:
		in.Control = "items"
		for i := range *field.Length {
			item := newInput(*field.Items, fmt.Sprintf("%s.%d", key, i))
			item.Name = strconv.Itoa(i + 1)
			if i < len(field.Labels) {
				item.Name = field.Labels[i]
			}
			item.Required = in.Required
			in.Items = append(in.Items, item)
		}
	case field.Type == modelmanager.Array:
		in.Control = "list"
	case len(field.Enum) > 0 && field.Unknown != "accept":
		in.Control, in.Hint = "select", "" // which lists what is allowed
		for _, value := range field.Enum {
			data, err := json.Marshal(value)
			if err == nil {
				in.Options = append(in.Options, option{Value: string(data), Text: enumText(value)})
			}
		}
	case field.Type == modelmanager.Boolean && field.Nullable:
		in.Control = "select"
		in.Options = []option{{Value: "true", Text: "yes"}, {Value: "false", Text: "no"}}
	case field.Type == modelmanager.Boolean:
		in.Control, in.Required = "check", false
	case field.Format == modelmanager.FormatDate:
		in.Control = "date"
	case field.Format == modelmanager.FormatDateTime:
		in.Control = "datetime"
	case field.Type == modelmanager.Number || field.Type == modelmanager.Integer && field.Format != modelmanager.FormatInt64:
		in.Control = "number"
		in.bound(field)
	default:
		in.Control = "text"
		in.Required = in.Required && field.Type != modelmanager.String // "" is a text
	}
	return in
}

// bound tells the browser what it can check by itself.
func (in *input) bound(field modelmanager.Field) {
	in.Step = "any"
	if field.Minimum != nil {
		in.Min = plain(*field.Minimum)
	}
	if field.Maximum != nil {
		in.Max = plain(*field.Maximum)
	}
	if field.Type == modelmanager.Integer && (field.Minimum == nil || *field.Minimum == float64(int64(*field.Minimum))) {
		in.Step = "1"
	}
}

// fill puts a JSON value into the field.
func (in *input) fill(data json.RawMessage) {
	data = bytes.TrimSpace(data)
	in.Value = ""
	switch in.Control {
	case "items":
		var items []json.RawMessage
		if json.Unmarshal(data, &items) == nil {
			for i := range min(len(items), len(in.Items)) {
				in.Items[i].fill(items[i])
			}
		}
	case "list":
		var items []json.RawMessage
		if json.Unmarshal(data, &items) == nil {
			texts := make([]string, len(items))
			for i, item := range items {
				texts[i] = textOf(item)
			}
			in.Value = strings.Join(texts, in.separator())
		}
	case "select":
		for i := range in.Options {
			in.Options[i].Selected = sameJSON(in.Options[i].Value, data)
		}
	case "check":
		if string(data) == "true" {
			in.Value = "true"
		}
	case "datetime":
		in.Value = textOf(data)
		if t, err := time.Parse(time.RFC3339Nano, in.Value); err == nil {
			in.Value = t.UTC().Format("2006-01-02T15:04:05.999")
		}
	default:
		in.Value = textOf(data)
	}
}

// sameJSON compares scalar values: 6 and 6.0 are the same.
func sameJSON(a string, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	return x == y && x != nil
}

// separator stands between the items of a list.
func (in *input) separator() string {
	if in.Field.Items != nil && in.Field.Items.Type == modelmanager.String {
		return "\n"
	}
	return ", "
}

// Lines tells whether a list's items have a line each.
func (in input) Lines() bool { return in.Control == "list" && in.separator() == "\n" }

// textOf is what somebody would have typed for a JSON value.
func textOf(data json.RawMessage) string {
	if string(data) == "null" {
		return ""
	}
	var text string
	if json.Unmarshal(data, &text) == nil {
		return text
	}
	return string(data)
}

// read takes what was typed, and returns it as JSON; nil leaves the feature out.
func (in *input) read(form url.Values) json.RawMessage {
	text := form.Get(in.Key)
	in.Value = text
	empty := json.RawMessage("null")
	if !in.Nullable {
		empty = nil
	}
	switch in.Control {
	case "items":
		items := make([]json.RawMessage, len(in.Items))
		none := true
		for i := range in.Items {
			items[i] = in.Items[i].read(form)
			none = none && (items[i] == nil || string(items[i]) == "null")
			if items[i] == nil {
				items[i] = json.RawMessage("null")
			}
		}
		if none {
			return empty
		}
		return encoded(items)
	case "list":
		return in.readList(text, empty)
	case "select":
		for i := range in.Options {
			in.Options[i].Selected = in.Options[i].Value == text
		}
		if text == "" {
			return empty
		}
		if !json.Valid([]byte(text)) {
			return encoded(text)
		}
		return json.RawMessage(text)
	case "check":
		return encoded(text == "true")
	}
	if text == "" && (in.Nullable || in.Type != modelmanager.String || in.Format != "" || in.Default != nil) {
		return empty
	}
	return in.scalar(text)
}

func (in *input) readList(text string, empty json.RawMessage) json.RawMessage {
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' || !in.Lines() && (r == ',' || r == ';') })
	if len(parts) == 0 && in.Nullable {
		return empty
	}
	item := input{Field: *in.Field.Items}
	items := []json.RawMessage{}
	for _, part := range parts {
		items = append(items, item.scalar(strings.TrimSpace(part)))
	}
	return encoded(items)
}

// scalar writes one value as the API wants it. What isn't of its type goes as
// the text that it is, and the API says so.
func (in *input) scalar(text string) json.RawMessage {
	trimmed := strings.TrimSpace(text)
	switch {
	case in.Format == modelmanager.FormatDateTime:
		for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02T15:04:05.999"} {
			if t, err := time.Parse(layout, trimmed); err == nil {
				return encoded(t.Format(time.RFC3339Nano))
			}
		}
	case in.Format == modelmanager.FormatInt64, in.Type == modelmanager.String:
	case in.Type == modelmanager.Boolean:
		if trimmed == "true" || trimmed == "false" {
			return json.RawMessage(trimmed)
		}
	case in.Type == modelmanager.Number, in.Type == modelmanager.Integer:
		var number json.Number
		if json.Unmarshal([]byte(trimmed), &number) == nil && !strings.HasPrefix(trimmed, `"`) {
			return json.RawMessage(trimmed)
		}
		if x, err := strconv.ParseFloat(trimmed, 64); err == nil && !strings.ContainsAny(trimmed, "xXpP_iInN") {
			return json.RawMessage(strconv.FormatFloat(x, 'g', -1, 64)) // .5, +3
		}
	}
	return encoded(text)
}

func encoded(value any) json.RawMessage {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil
	}
	return bytes.TrimSpace(b.Bytes())
}
