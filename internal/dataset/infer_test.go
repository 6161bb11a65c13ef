package dataset

import (
	"context"
	"encoding/json"
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
			`{"at":"2024-01-02 10:00:00","code":"007","day":"2024-01-02","empty":null,"flag":true,"kind":"b","n":1,"x":1.5}`,
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
