package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
		p.Message, p.Cells = "", nil
		got[p.Column] = p
	}
	want := map[string]modelmanager.ColumnProblem{
		"unheard_of": {Column: "unheard_of", Code: modelmanager.CodeMissingColumn},
		"net_worth":  {Column: "net_worth", Code: modelmanager.CodeInvalidRows, Count: 2, Samples: []string{"much", "lots"}, Rows: []int64{41, 42}},
		"age":        {Column: "age", Code: modelmanager.CodeInvalidRows, Count: 2, Samples: []string{"x", "31.5"}, Rows: []int64{42, 43}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if check.Rejected != 3 {
		t.Errorf("%d rows would be rejected, not 3", check.Rejected)
	}
	if diff := cmp.Diff(map[string]string{"net_worth": "likeness", "age": "name", "city": "likeness"}, check.Matched); diff != "" {
		t.Error(diff)
	}
	request := w.request(w.file("b.csv", []byte(rows)))
	request.Input.Columns = map[string]string{"city": "", "unheard_of": "id"}
	again, err := w.service.DryRun(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"net_worth": "likeness", "age": "name", "city": "none", "unheard_of": "asked"}, again.Matched); diff != "" {
		t.Error(diff)
	}
	if len(again.Problems) == 0 || again.Problems[0].Column != "city" || again.Problems[0].Code != modelmanager.CodeMissingColumn {
		t.Errorf("%+v", again.Problems)
	}
	if len(check.First) != 5 || !slices.Equal(check.First[0], []string{"1", "2.5", "30", "Rome"}) {
		t.Errorf("the first rows are %q", check.First)
	}
	for _, p := range check.Problems {
		if p.Column == "age" && (len(p.Cells) != 2 || p.Cells[0].Row != 42 || p.Cells[0].Value != "x" ||
			p.Cells[0].Message == p.Cells[1].Message || strings.Contains(p.Cells[0].Message, "lots")) {
			t.Errorf("%+v", p.Cells)
		}
	}
	if keys := append(w.keys("active/"), w.keys("jobs/")...); len(keys) > 0 {
		t.Errorf("a dry run left %q", keys)
	}
}

// TestCellsOfColumnsThatAreOnlyAlike: how numbers and dates are written is found
// out from the columns that are proposed, too.
func TestCellsOfColumnsThatAreOnlyAlike(t *testing.T) {
	w := newWorld(t, func(s *spec.Spec) {
		s.Features = []modelmanager.Field{
			{Name: "weight", Type: modelmanager.Number}, {Name: "born", Type: modelmanager.String, Format: modelmanager.FormatDate},
		}
	})
	request := w.request(w.file("a.csv", []byte("Id;Weight;Born\n1;1188,412;31.12.1974\n2;1200,5;01.02.1973\n")))
	for _, decimal := range []string{"", ","} {
		request.Input.Decimal = decimal
		check, err := w.service.DryRun(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		if check.Input.Decimal != "," || check.Input.Dates != "DD.MM.YYYY" || check.Rejected != 0 {
			t.Errorf("with decimal %q: %+v", decimal, check)
		}
	}
	request.Input.Decimal = "." // whoever says so is believed
	check, err := w.service.DryRun(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if check.Input.Decimal != "." || check.Rejected != 2 {
		t.Errorf("%+v", check)
	}
	request = w.request(w.file("b.csv", []byte("Id;Weight;Born\n1;1188,412;1974-12-31\n2;1200.5;1973-02-01\n")))
	if check, err = w.service.DryRun(t.Context(), request); err != nil || check.Input.Decimal != "." || check.Rejected != 1 {
		t.Errorf("written in both ways: %+v %v", check, err)
	}
}

// TestAWholeFileIsChecked: every row, and not only those that a dry run looks
// at; how far it is is told on the way.
func TestAWholeFileIsChecked(t *testing.T) {
	w := newWorld(t, func(s *spec.Spec) { s.Features = []modelmanager.Field{{Name: "x", Type: modelmanager.Number}} })
	const rows = 400_000
	var text strings.Builder
	text.WriteString("id,x\n")
	for i := range rows {
		if i%1000 == 999 && i > dryRunRows {
			text.WriteString("a,much\n")
		} else {
			text.WriteString("a,1.5\n")
		}
	}
	request := w.request(w.file("a.csv", []byte(text.String())))
	check, err := w.service.DryRun(t.Context(), request)
	if err != nil || check.Complete || check.Rejected != 0 || check.Rows != dryRunRows {
		t.Fatalf("%d of %d, %v %v", check.Rejected, check.Rows, check.Complete, err)
	}
	var told []modelmanager.JobCheck
	check, err = w.service.Check(t.Context(), request, func(check modelmanager.JobCheck) { told = append(told, check) })
	if err != nil || !check.Complete || check.UnderWay || check.Rows != rows || check.Rejected != (rows-dryRunRows)/1000 ||
		len(check.Problems) != 1 || check.Problems[0].Count != check.Rejected || check.Problems[0].Cells[0].Row != dryRunRows+1000 {
		t.Errorf("%d of %d, %+v %v", check.Rejected, check.Rows, check.Problems, err)
	}
	if len(told) == 0 || !told[0].UnderWay {
		t.Errorf("%d were told", len(told))
	}
	for i := 1; i < len(told); i++ {
		if told[i].Rows <= told[i-1].Rows || told[i].Read < told[i-1].Read || told[i].Read > 1 {
			t.Errorf("%+v after %+v", told[i], told[i-1])
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := w.service.Check(ctx, request, func(modelmanager.JobCheck) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for range cap(w.service.checking) {
		w.service.checking <- struct{}{}
	}
	_, err = w.service.Check(t.Context(), request, nil)
	wantCode(t, err, modelmanager.CodeTooManyRequests)
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
		{fields("age", "income", "city"), []string{"age", "what they earn", "city"}, map[string]string{"age": "age", "income": "what they earn", "city": "city"}},
		{fields("age", "income", "city"), []string{"age", "city", "what they earn"}, map[string]string{"age": "age", "city": "city"}},
		{fields("age", "income", "city"), []string{"a", "b", "city"}, map[string]string{"city": "city"}},
	} {
		got, _ := propose(test.fields, test.headers, nil)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q: %s", test.headers, diff)
		}
	}
}

// TestLikenessInAnyScript: letters count, not bytes.
func TestLikenessInAnyScript(t *testing.T) {
	for _, test := range []struct {
		feature, header string
		want            bool
	}{
		{"größe_cm", "Groeße cm", true}, {"возраст", "Возрост", true}, {"доход_год", "Доход, год", true},
		{"дом", "лом", false}, // one letter of three
		{"年齢区分", "年齢区文", true}, {"年齢", "年令", false}, {"naïve", "Naive", true}, {"size", "sise", true}, {"ab", "ac", false},
	} {
		fields := []modelmanager.Field{{Name: test.feature, Type: modelmanager.Number}}
		mapping, _ := propose(fields, []string{"id", test.header, "other"}, nil)
		if got := mapping[test.feature] == test.header; got != test.want {
			t.Errorf("%s for %s: %v, want %v", test.header, test.feature, got, test.want)
		}
	}
}

func TestDryRunOfAWideFile(t *testing.T) {
	w := newWorld(t, nil)
	const columns, rows = 1000, 3000
	var file strings.Builder
	file.WriteString("x" + strings.Repeat(",", columns-1) + "\n")
	for row := range rows {
		fmt.Fprintf(&file, "%d%s\n", row, strings.Repeat(",", columns-1))
	}
	request := w.request(w.file("wide.csv", []byte(file.String())))
	check, err := w.service.DryRun(t.Context(), request)
	if err != nil || check.Complete || check.Rows != dryRunCells/columns {
		t.Errorf("%d rows, complete %v, %v", check.Rows, check.Complete, err)
	}
	if check, err = w.service.Check(t.Context(), request, nil); err != nil || !check.Complete || check.Rows != rows {
		t.Errorf("of the whole: %d rows, complete %v, %v", check.Rows, check.Complete, err)
	}
}
