package batch

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

func TestDryRun(t *testing.T) {
	w := newWorld(t, func(s *spec.Spec) {
		s.Features = []modelmanager.Field{
			{Name: "net_worth", Type: modelmanager.Number}, {Name: "age", Type: modelmanager.Integer}, {Name: "city", Type: modelmanager.String},
			{Name: "unheard_of", Type: modelmanager.Number},
		}
	})
	rows := "id;Net Worth;age;Citty\n" + strings.Repeat("1;2.5;30;Rome\n", 40) + "2;much;30;Rome\n3;lots;x;Rome\n4;1.5;31.5;Rome\n"
	check, err := w.service.DryRun(t.Context(), w.request(w.file("a.csv", []byte(rows))))
	if err != nil {
		t.Fatal(err)
	}
	if check.Input.Delimiter != ";" || check.Rows != 43 || !check.Complete {
		t.Errorf("%+v", check)
	}
	if diff := cmp.Diff([]string{"id", "Net Worth", "age", "Citty"}, check.Headers); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"net_worth": "Net Worth", "age": "age", "city": "Citty"}, check.Mapping); diff != "" {
		t.Error(diff)
	}
	got := make(map[string]modelmanager.ColumnProblem)
	for _, p := range check.Problems {
		p.Message = ""
		got[p.Column] = p
	}
	want := map[string]modelmanager.ColumnProblem{
		"unheard_of": {Column: "unheard_of", Code: modelmanager.CodeMissingColumn},
		"net_worth":  {Column: "net_worth", Code: modelmanager.CodeInvalidRows, Count: 2, Samples: []string{"much", "lots"}, Rows: []int64{41, 42}},
		"age":        {Column: "age", Code: modelmanager.CodeInvalidRows, Count: 1, Samples: []string{"31.5"}, Rows: []int64{43}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if keys := append(w.keys("active/"), w.keys("jobs/")...); len(keys) > 0 {
		t.Errorf("a dry run left %q", keys)
	}
}

func TestLikeness(t *testing.T) {
	fields := func(names ...string) (fields []modelmanager.Field) {
		for _, name := range names {
			fields = append(fields, modelmanager.Field{Name: name})
		}
		return fields
	}
	for _, test := range []struct {
		fields  []modelmanager.Field
		headers []string
		want    map[string]string
	}{
		{fields("a"), []string{"b"}, map[string]string{}},
		{fields("mean_radius"), []string{"Mean Radius (mm)", "MEAN-RADIUS"}, map[string]string{"mean_radius": "MEAN-RADIUS"}},
		{fields("umsatz_gross"), []string{"Umsätz Gross"}, map[string]string{"umsatz_gross": "Umsätz Gross"}},
		{fields("x1", "x2"), []string{"x2", "x1"}, map[string]string{"x1": "x1", "x2": "x2"}},
		{fields("income"), []string{"Income", "INCOME"}, map[string]string{}},
		{fields("laterality"), []string{"lateralty"}, map[string]string{"laterality": "lateralty"}},
	} {
		if diff := cmp.Diff(test.want, propose(test.fields, test.headers, nil)); diff != "" {
			t.Errorf("%q: %s", test.headers, diff)
		}
	}
}
