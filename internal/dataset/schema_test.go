package dataset

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
)

// TestCompileRefuses checks fields that can't be meant.
func TestCompileRefuses(t *testing.T) {
	number := func(change func(f *modelmanager.Field)) modelmanager.Field {
		f := modelmanager.Field{Name: "x", Type: modelmanager.Number}
		change(&f)
		return f
	}
	text := func(change func(f *modelmanager.Field)) modelmanager.Field {
		f := modelmanager.Field{Name: "x", Type: modelmanager.String}
		change(&f)
		return f
	}
	list := func(change func(f *modelmanager.Field)) modelmanager.Field {
		f := modelmanager.Field{Name: "x", Type: modelmanager.Array, MaxItems: ptr(3), Items: &modelmanager.Field{Type: modelmanager.Number}}
		change(&f)
		return f
	}
	for name, field := range map[string]modelmanager.Field{
		"no name":              {Type: modelmanager.Number},
		"no type":              {Name: "x"},
		"unknown type":         {Name: "x", Type: "float"},
		"format of a number":   number(func(f *modelmanager.Field) { f.Format = "int64" }),
		"format of a string":   text(func(f *modelmanager.Field) { f.Format = "email" }),
		"empty range":          number(func(f *modelmanager.Field) { f.Minimum, f.Maximum = ptr(2.0), ptr(1.0) }),
		"empty open range":     number(func(f *modelmanager.Field) { f.ExclusiveMinimum, f.Maximum = ptr(1.0), ptr(1.0) }),
		"infinite bound":       number(func(f *modelmanager.Field) { f.Maximum = ptr(math.Inf(1)) }),
		"multipleOf 0":         number(func(f *modelmanager.Field) { f.MultipleOf = ptr(0.0) }),
		"minimum of a string":  text(func(f *modelmanager.Field) { f.Minimum = ptr(1.0) }),
		"pattern of a number":  number(func(f *modelmanager.Field) { f.Pattern = "a" }),
		"bad pattern":          text(func(f *modelmanager.Field) { f.Pattern = "(?=a)" }),
		"lengths":              text(func(f *modelmanager.Field) { f.MinLength, f.MaxLength = ptr(3), ptr(2) }),
		"enum of another type": text(func(f *modelmanager.Field) { f.Enum = []any{"a", int64(1)} }),
		"enum with null":       text(func(f *modelmanager.Field) { f.Enum = []any{"a", nil} }),
		"enum twice":           text(func(f *modelmanager.Field) { f.Enum = []any{"a", "b", "a"} }),
		"enum twice, as 1.0":   number(func(f *modelmanager.Field) { f.Enum = []any{int64(1), 1.0} }),
		"enum out of range":    number(func(f *modelmanager.Field) { f.Enum, f.Maximum = []any{2.0}, ptr(1.0) }),
		"unknown, no enum":     text(func(f *modelmanager.Field) { f.Unknown = "null" }),
		"unknown, what":        text(func(f *modelmanager.Field) { f.Enum, f.Unknown = []any{"a"}, "ignore" }),
		"default type":         number(func(f *modelmanager.Field) { f.Default = &modelmanager.Default{Value: "1"} }),
		"default range":        number(func(f *modelmanager.Field) { f.Minimum, f.Default = ptr(2.0), &modelmanager.Default{Value: int64(1)} }),
		"items of a number":    number(func(f *modelmanager.Field) { f.Length = ptr(2) }),
		"array without items":  list(func(f *modelmanager.Field) { f.Items = nil }),
		"array without length": list(func(f *modelmanager.Field) { f.MaxItems = nil }),
		"array with both":      list(func(f *modelmanager.Field) { f.Length = ptr(2) }),
		"labels":               list(func(f *modelmanager.Field) { f.MaxItems, f.Length, f.Labels = nil, ptr(2), []string{"a"} }),
		"huge array":           list(func(f *modelmanager.Field) { f.MaxItems = ptr(1 << 30) }),
		"bad items":            list(func(f *modelmanager.Field) { f.Items.Pattern = "a" }),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compile([]modelmanager.Field{field})
			if modelmanager.CodeOf(err) != modelmanager.CodeInvalidSpec {
				t.Errorf("error %v", err)
			}
			if err != nil && name != "no name" && !strings.Contains(err.Error(), "x") {
				t.Errorf("%v doesn't name the field", err)
			}
		})
	}
	if _, err := Compile([]modelmanager.Field{{Name: "x", Type: modelmanager.Number}, {Name: "x", Type: modelmanager.String}}); err == nil {
		t.Error("a name used twice is accepted")
	}
}

func TestArrowTypes(t *testing.T) {
	fields := patientFields()
	fields = append(fields,
		modelmanager.Field{Name: "open", Type: modelmanager.String, Enum: []any{"a"}, Unknown: "accept"},
		modelmanager.Field{Name: "lenient", Type: modelmanager.String, Enum: []any{"a"}, Unknown: "null"},
		modelmanager.Field{Name: "level", Type: modelmanager.Integer, Enum: []any{int64(3), int64(1)}},
		modelmanager.Field{Name: "day", Type: modelmanager.String, Format: modelmanager.FormatDate, Enum: []any{"2024-02-29"}})
	s := mustCompile(t, fields...)
	for name, want := range map[string]string{
		"radius": "float64", "visits": "int64", "id": "int64", "side": "dictionary<values=utf8, indices=int32, ordered=false>", "smoker": "bool",
		"note": "utf8", "taken_on": "date32", "at": "timestamp[us, tz=UTC]", "pair": "fixed_size_list<item: float64>[2]",
		"codes": "list<item: dictionary<values=utf8, indices=int32, ordered=false>, nullable>", "open": "utf8",
		"lenient": "dictionary<values=utf8, indices=int32, ordered=false>", "level": "dictionary<values=int64, indices=int32, ordered=false>",
		"day": "dictionary<values=date32, indices=int32, ordered=false>",
	} {
		found, _ := s.Arrow().FieldsByName(name)
		if len(found) != 1 || found[0].Type.String() != want {
			t.Errorf("%s: %v, want %s", name, found, want)
		}
	}
	record, err := decodeRow(s, `{"radius": 1, "open": "z", "lenient": "z", "level": 1.0, "day": "2024-02-29"}`)
	if err != nil {
		t.Fatal(err)
	}
	for i, column := range record.Columns() {
		if !arrow.TypeEqual(column.DataType(), s.Arrow().Field(i).Type) {
			t.Errorf("%s is of type %s", s.Arrow().Field(i).Name, column.DataType())
		}
	}
	if got := string(s.AppendRow(nil, record, 0)); !strings.HasSuffix(got, `"open":"z","lenient":null,"level":1,"day":"2024-02-29"}`) {
		t.Error(got)
	}
}

func TestNearest(t *testing.T) {
	s := mustCompile(t, patientFields()...)
	for name, want := range map[string]string{
		"raduis": "radius", "Radius": "radius", "Taken on": "taken_on", "TAKEN-ON": "taken_on", "vists": "visits",
		"": "", "diagnosis_code": "", "x": "", strings.Repeat("radius", 1000): "",
	} {
		if got := s.Nearest(name); got != want {
			t.Errorf("nearest to %q is %q, want %q", name, got, want)
		}
	}
}

// TestConcurrentRequests checks that requests which share a schema share no rows.
func TestConcurrentRequests(t *testing.T) {
	s := mustCompile(t, patientFields()...)
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			var records []arrow.RecordBatch
			text := func(i int) string {
				return fmt.Sprintf(`{"radius":%d,"visits":%d,"id":"%d","side":"right","smoker":true,"note":"%d","taken_on":null,"at":null,"pair":[%d,1],"codes":["y"]}`,
					worker, i, i, i, i)
			}
			send := func(i int) string {
				return strings.Replace(text(i), `"taken_on":null,"at":null,`, "", 1)
			}
			for i := range 200 {
				request, err := s.DecodeRequest([]byte(`{"rows":[`+send(i)+","+send(i)+"]}"), 0)
				if err != nil {
					t.Error(err)
					return
				}
				records = append(records, request.Record)
			}
			for i, record := range records {
				if got := string(s.AppendRow(nil, record, 1)); got != text(i) {
					t.Errorf("got  %s\nwant %s", got, text(i))
					return
				}
			}
		})
	}
	group.Wait()
}

// TestDecodingAllocatesLittle guards the speed of small requests.
func TestDecodingAllocatesLittle(t *testing.T) {
	s := mustCompile(t, benchFields()...)
	body := benchBody(t, 1)
	if n := testing.AllocsPerRun(200, func() {
		if _, err := s.DecodeRequest(body, 0); err != nil {
			t.Fatal(err)
		}
	}); n > 8 {
		t.Errorf("%v allocations", n)
	}
}
