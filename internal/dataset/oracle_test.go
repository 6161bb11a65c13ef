package dataset

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"modelmanager.dev"
)

// TestAgreesWithJSONSchema checks random rows, valid and not, of random schemas
// against a general JSON Schema validator: both accept the same rows, and an
// accepted row holds the values that encoding/json reads.
func TestAgreesWithJSONSchema(t *testing.T) {
	accepted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		fields := drawFields(t)
		s, err := Compile(fields)
		if err != nil {
			t.Fatal(err)
		}
		oracle := drawnOracle(t, fields)
		b := NewBuilder(s)
		for range 20 {
			row := drawRow(t, fields)
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(row))
			if err != nil {
				t.Fatalf("%s: %v", row, err)
			}
			verdict := oracle.Validate(doc)
			b.SetJSON([]byte(row))
			problems := b.EndRow(RefuseAbsent)
			if (verdict == nil) != (problems == nil) {
				spec, _ := json.Marshal(fields)
				t.Fatalf("schema %s\nrow %s\nours: %v\noracle: %v", spec, row, problems, verdict)
			}
			if problems != nil {
				refused++
				continue
			}
			accepted++
			record := b.Record()
			compareRow(t, fields, row, s.AppendRow(nil, record, 0))
			// The arrays that Arrow sees hold the same.
			compareRow(t, fields, row, s.AppendRow(nil, batchOf(record), 0))
		}
	})
	if accepted < refused/20 || refused < accepted/20 {
		t.Errorf("one-sided: %d rows accepted, %d refused", accepted, refused)
	}
}

func batchOf(r arrow.RecordBatch) arrow.RecordBatch { return r.(*record).batch() }

func drawnOracle(t *rapid.T, fields []modelmanager.Field) *jsonschema.Schema {
	text, err := json.Marshal(RowSchema(fields))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("row.json", doc); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("row.json")
}

func drawFields(t *rapid.T) []modelmanager.Field {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b b", "ä\"q\\", "mean_radius", "x.y", "日本", "long_name_of_a_feature"}),
		1, 5, rapid.ID[string]).Draw(t, "names")
	fields := make([]modelmanager.Field, len(names))
	for i, name := range names {
		fields[i] = drawField(t, true)
		fields[i].Name = name
	}
	return fields
}

func chance(t *rapid.T, percent int, label string) bool {
	return rapid.IntRange(1, 100).Draw(t, label) <= percent
}

func drawField(t *rapid.T, arrays bool) modelmanager.Field {
	f := modelmanager.Field{Nullable: chance(t, 30, "nullable")}
	kinds := []string{"boolean", "integer", "int64", "number", "string", "date", "date-time", "enum", "numbers", "integers", "array"}
	if !arrays {
		kinds = kinds[:len(kinds)-1]
	}
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "boolean":
		f.Type = modelmanager.Boolean
		if chance(t, 20, "enum") {
			f.Enum = []any{true}
		}
	case "integer":
		f.Type = modelmanager.Integer
		drawBounds(t, &f)
	case "int64":
		f.Type, f.Format = modelmanager.Integer, modelmanager.FormatInt64
	case "number":
		f.Type = modelmanager.Number
		drawBounds(t, &f)
	case "string":
		f.Type = modelmanager.String
		if chance(t, 30, "min") {
			f.MinLength = ptr(2)
		}
		if chance(t, 30, "max") {
			f.MaxLength = ptr(4)
		}
		if chance(t, 30, "pattern") {
			f.Pattern = "^[a-zé]+$"
		}
	case "date":
		f.Type, f.Format = modelmanager.String, modelmanager.FormatDate
	case "date-time":
		f.Type, f.Format = modelmanager.String, modelmanager.FormatDateTime
	case "enum":
		f.Type, f.Enum = modelmanager.String, []any{"left", "right", "né", ""}
		f.Unknown = rapid.SampledFrom([]string{"", "", "null", "accept"}).Draw(t, "unknown")
	case "numbers":
		f.Type, f.Enum = modelmanager.Number, []any{0.5, int64(1), -2.0}
	case "integers":
		f.Type, f.Enum = modelmanager.Integer, []any{int64(1), int64(2), int64(-3)}
	case "array":
		f.Type = modelmanager.Array
		item := drawField(t, false)
		f.Items = &item
		if chance(t, 50, "fixed") {
			f.Length = ptr(rapid.IntRange(1, 3).Draw(t, "length"))
		} else {
			f.MaxItems = ptr(rapid.IntRange(1, 3).Draw(t, "max_items"))
		}
	}
	if f.Type != modelmanager.Array && arrays && chance(t, 20, "default") {
		f.Default = &modelmanager.Default{}
	}
	return f
}

func drawBounds(t *rapid.T, f *modelmanager.Field) {
	bounds := []float64{-3, -0.5, 0, 1, 2.5, 100}
	bound := func(label string) *float64 {
		if !chance(t, 25, label) {
			return nil
		}
		return ptr(rapid.SampledFrom(bounds).Draw(t, label))
	}
	low, high := bound("low"), bound("high")
	if low != nil && high != nil && *high-*low < 4 {
		high = nil
	}
	if chance(t, 50, "open") {
		f.ExclusiveMinimum, f.Maximum = low, high
	} else {
		f.Minimum, f.ExclusiveMaximum = low, high
	}
	if chance(t, 20, "multiple") {
		f.MultipleOf = ptr(rapid.SampledFrom([]float64{0.01, 0.5, 2, 3}).Draw(t, "multipleOf"))
	}
}

func drawRow(t *rapid.T, fields []modelmanager.Field) string {
	var members []string
	for _, f := range fields {
		if chance(t, 7, "absent") {
			continue
		}
		members = append(members, quoted(f.Name)+rapid.SampledFrom([]string{":", ": ", " :\n\t"}).Draw(t, "colon")+drawValue(t, f))
	}
	if chance(t, 5, "extra") {
		members = append(members, `"extra": {"a": [1, {}, [], "x\u00e9"], "b": null}`)
	}
	if chance(t, 20, "shuffle") {
		members = rapid.Permutation(members).Draw(t, "order")
	}
	return "{" + strings.Join(members, rapid.SampledFrom([]string{",", ", "}).Draw(t, "comma")) + "}"
}

var wild = []string{"null", "true", "false", "0", "-0", "1", "5.0", "5e0", "50e-1", "1.5", "-3", "0.07", "0.5", "9007199254740991",
	"9007199254740992", "-9007199254740993", "9007199254740991.5", "1e18", "123456789012345678901234567890", "1e-7", "0.1e1", "1E+2",
	"2.5", "100", "17.990000000000000001", "1.7976931348623157e308", "5e-324", "12345678901234567.25",
	`"5"`, `""`, `"left"`, `"né"`, `"n\u00e9"`, `"a\nb"`, `"\ud83d\ude00"`, `"abcdef"`, `"2024-02-29"`, `"2023-02-29"`, `"1900-02-29"`,
	`"2024-02-29T12:30:00Z"`, `"2024-02-29T12:30:00.123456789+05:30"`, `"2024-02-29t12:30:00z"`, `"2024-02-29 12:30:00Z"`, `"2024-13-01"`,
	`"2024-02-29T24:00:00Z"`, `"2024-02-29T12:30:00"`, `"-12"`, `"9223372036854775807"`, `"-9223372036854775808"`, `"012"`, `"1.0"`,
	"[]", "[1]", "[1, 2]", `["left"]`, "[null]", "{}", `{"a": 1}`}

func drawValue(t *rapid.T, f modelmanager.Field) string {
	if chance(t, 12, "wild") {
		value := rapid.SampledFrom(wild).Draw(t, "value")
		if f.MultipleOf != nil && len(strings.Trim(value, `"`)) > 16 {
			// We look at the double, of at most 17 digits, and the oracle at all of them.
			value = "0.07"
		}
		return value
	}
	if f.Nullable && chance(t, 15, "null") {
		return "null"
	}
	if len(f.Enum) > 0 {
		text, _ := json.Marshal(rapid.SampledFrom(f.Enum).Draw(t, "level"))
		return string(text)
	}
	switch {
	case f.Type == modelmanager.Boolean:
		return strconv.FormatBool(rapid.Bool().Draw(t, "bool"))
	case f.Format == modelmanager.FormatInt64:
		return quoted(strconv.FormatInt(rapid.Int64().Draw(t, "int64"), 10))
	case f.Type == modelmanager.Integer:
		return strconv.FormatInt(rapid.Int64Range(-10, 120).Draw(t, "integer"), 10)
	case f.Type == modelmanager.Number:
		if chance(t, 50, "short") {
			return strconv.FormatFloat(float64(rapid.IntRange(-500, 12000).Draw(t, "hundredths"))/100, 'f', -1, 64)
		}
		return string(appendFloat(nil, rapid.Float64().Draw(t, "number")))
	case f.Format == modelmanager.FormatDate:
		return quoted(drawTime(t).Format(time.DateOnly))
	case f.Format == modelmanager.FormatDateTime:
		return quoted(drawTime(t).Format(time.RFC3339Nano))
	case f.Type == modelmanager.String:
		return quoted(rapid.StringMatching("[a-zé]{1,5}").Draw(t, "string"))
	}
	n := 0
	if f.Length != nil {
		n = *f.Length
	} else {
		n = rapid.IntRange(0, *f.MaxItems).Draw(t, "items")
	}
	items := make([]string, n)
	for i := range items {
		items[i] = drawValue(t, *f.Items)
	}
	return "[" + strings.Join(items, ", ") + "]"
}

func drawTime(t *rapid.T) time.Time {
	at := time.Unix(rapid.Int64Range(-60_000_000_000, 250_000_000_000).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos"))
	return at.In(time.FixedZone("", 60*rapid.IntRange(-1439, 1439).Draw(t, "offset")))
}

func quoted(s string) string { return string(appendString(nil, s)) }

// compareRow compares what encoding/json reads of a row with what we write of it.
func compareRow(t *rapid.T, fields []modelmanager.Field, row string, written []byte) {
	var want, got map[string]any
	if err := json.Unmarshal([]byte(row), &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(written, &got); err != nil {
		t.Fatalf("%s: %v", written, err)
	}
	for _, f := range fields {
		if value, ok := want[f.Name]; ok {
			want[f.Name] = normal(f, value)
		} else {
			want[f.Name] = f.Default.Value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("row %s\nwritten %s\n%s", row, written, diff)
	}
}

// normal is the form in which we write a value.
func normal(f modelmanager.Field, value any) any {
	switch v := value.(type) {
	case string:
		switch {
		case f.Format == modelmanager.FormatDateTime:
			at, err := time.Parse(time.RFC3339Nano, strings.ToUpper(v))
			if err != nil {
				panic(err)
			}
			return at.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
		case f.Unknown == "null":
			for _, level := range f.Enum {
				if level == v {
					return v
				}
			}
			return nil
		}
	case float64:
		if f.Format == modelmanager.FormatInt64 {
			return fmt.Sprint(int64(v))
		}
		if f.Type == modelmanager.Integer && v == 0 {
			return 0.0
		}
	case []any:
		for i := range v {
			v[i] = normal(*f.Items, v[i])
		}
	}
	return value
}
