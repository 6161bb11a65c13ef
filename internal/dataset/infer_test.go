package dataset

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	modelmanager "modelmanager.dev"
)

func TestInfer(t *testing.T) {
	for _, test := range []struct{ name, text, fields, samples string }{
		{
			"csv",
			"n,x,code,kind,flag,day,at,empty\n1,1.5,007,b,true,2024-01-02,2024-01-02 10:00:00,\n2,2,008,a,FALSE,,2024-01-02T10:00:00Z,\n-3,,009,b,true,2024-01-03,2024-01-02T10:00:00Z,\n4,1e3,010,b,true,2024-01-03,2024-01-02T10:00:00Z,\n",
			`[{"name":"n","type":"integer"},{"name":"x","type":"number","nullable":true},{"name":"code","type":"string"},{"name":"kind","type":"string","enum":["b","a"]},{"name":"flag","type":"boolean"},{"name":"day","type":"string","format":"date","nullable":true},{"name":"at","type":"string","format":"date-time"},{"name":"empty","type":"string","nullable":true}]`,
			`{"at":"2024-01-02T10:00:00Z","code":"007","day":"2024-01-02","empty":null,"flag":true,"kind":"b","n":1,"x":1.5}`,
		},
		{
			"jsonl",
			`{"n":1,"v":[1,2],"s":"x"}` + "\n" + `{"n":2.5,"v":[3,4],"t":9007199254740993}` + "\n",
			`[{"name":"n","type":"number"},{"name":"v","type":"array","items":{"type":"integer"},"length":2},{"name":"s","type":"string","nullable":true,"default":null},{"name":"t","type":"integer","format":"int64","nullable":true,"default":null}]`,
			`{"n":1,"s":"x","t":null,"v":[1,2]}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			src := NewBytesSource([]byte(test.text))
			input, err := Sniff(context.Background(), src, modelmanager.JobInput{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Infer(context.Background(), src, input)
			if err != nil {
				t.Fatal(err)
			}
			fields, _ := json.Marshal(got.Fields)
			if diff := cmp.Diff(test.fields, string(fields)); diff != "" {
				t.Error(diff)
			}
			sample, _ := json.Marshal(got.Samples[0])
			if diff := cmp.Diff(test.samples, string(sample)); diff != "" {
				t.Error(diff)
			}
			if !got.All {
				t.Error("not all rows were read")
			}
			if _, err := Compile(got.Fields); err != nil {
				t.Errorf("the fields don't compile: %v", err)
			}
		})
	}
	src := NewBytesSource(everyParquet(t))
	got, err := Infer(context.Background(), src, modelmanager.JobInput{Format: "parquet"})
	if err != nil || got.Rows != 4 {
		t.Fatal(err, got)
	}
	if f := got.Fields[2]; f.Type != modelmanager.Number || !f.Nullable {
		t.Errorf("a column of whole doubles became %+v", f)
	}
}

// TestInferTraits: what stands for null, how dates are written, and which
// columns only name or number the rows.
func TestInferTraits(t *testing.T) {
	text := "n,id,ozone,born,ship,flag\n"
	for i := range 12 {
		text += strings.Join([]string{
			strconv.Itoa(i + 1), "P" + strconv.Itoa(i), []string{"41", "NA", "2.5"}[i%3],
			fmt.Sprintf("%02d/02/1980", i+10), "Titanic", []string{"TRUE", "n/a"}[i%2],
		}, ",") + "\n"
	}
	src := NewBytesSource([]byte(text))
	input, err := Sniff(context.Background(), src, modelmanager.JobInput{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Infer(context.Background(), src, input)
	if err != nil {
		t.Fatal(err)
	}
	fields, _ := json.Marshal(got.Fields)
	want := `[{"name":"n","type":"integer"},{"name":"id","type":"string"},{"name":"ozone","type":"number","nullable":true},` +
		`{"name":"born","type":"string","format":"date"},{"name":"ship","type":"string"},{"name":"flag","type":"boolean","nullable":true}]`
	if diff := cmp.Diff(want, string(fields)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Trait{{Counts: true, Unique: true}, {Unique: true}, {}, {Unique: true}, {Constant: true}, {}}, got.Traits); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"NA", "n/a"}, got.Null); diff != "" || got.Dates != "DD/MM/YYYY" {
		t.Error(diff, got.Dates)
	}
	if sample := got.Samples[1]; sample["born"] != "1980-02-11" || sample["ozone"] != nil || sample["flag"] != nil {
		t.Errorf("a sample: %v", sample)
	}
	for name, text := range map[string]string{
		"nothing but numbers":                 "1,2\n3,4\n",
		"3 names, and every row 4 cells":      "\"mpg\",\"cyl\",\"disp\"\n\"Mazda\",21,6,160\n\"Datsun\",22,4,108\n",
		"2 names, and every row 3 cells: nam": "a,b\n1,2,\n3,4,\n",
	} {
		src := NewBytesSource([]byte(text))
		input, err := Sniff(context.Background(), src, modelmanager.JobInput{}, nil)
		if err == nil {
			_, err = Infer(context.Background(), src, input)
		}
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
