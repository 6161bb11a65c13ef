package dataset

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	modelmanager "modelmanager.dev"
)

func TestWhatIsAFormula(t *testing.T) {
	for _, text := range []string{
		"=1+1", "=HYPERLINK(\"http://example.org\")", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-", "+", "--1", "-1-1", "+1e", "-1,", "=", "-,", "+44 20", "-.", "-1.e5x", "\n=1", "\nx", "＝1+1", "＋x", "－1-1", "＠SUM(A1)",
	} {
		if want := text != "-1,"; formula([]byte(text)) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
	for _, text := range []string{"", "a", "1", "-1", "+1", "-1.5", "-1,5", "-.5", "+1.000,50", "-1e5", "-1E-05", "1=1", "a@b", "'=1", " =1", "－1", "＋1,5", "ｘ", "（a）"} {
		if formula([]byte(text)) {
			t.Errorf("%q is taken for a formula", text)
		}
	}
}

// TestNoFormulaIsMissedInARecord: whatever begins one, in quotes or not.
func TestNoFormulaIsMissedInARecord(t *testing.T) {
	const record = "a;＝x;\"\n=1\";\"\tb\";－1;＠c\n"
	w := &csvWriter{delim: ';'}
	if got, want := string(w.appendEscaped(nil, []byte(strings.TrimSuffix(record, "\n")), true)), "a;'＝x;\"'\n=1\";\"'\tb\";－1;'＠c"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

const suspicious = "id;=head;age;radius;side;taken;smoker;note\r\n" +
	"\"=1+\"\"1\"\"\";+x;40;-1,5;left;2024-02-29;true;-3,5\r\n" +
	"b;@y;50;2,5;left;2024-02-29;false;\"-a;b\"\r\n"

func TestFormulasAreEscaped(t *testing.T) {
	src := NewBytesSource([]byte(suspicious))
	output := modelmanager.JobOutput{Add: []string{}}
	kept := string(score(t, src, modelmanager.JobInput{}, output))
	for line, row := range strings.Split(strings.TrimSuffix(suspicious, "\r\n"), "\r\n") {
		if got := strings.Split(kept, "\r\n")[line]; !strings.HasPrefix(got, row+";") {
			t.Errorf("without being asked for, %q became %q", row, got)
		}
	}
	output.Formulas = "escape"
	r := csv.NewReader(bytes.NewReader(score(t, src, modelmanager.JobInput{}, output)))
	r.Comma = ';'
	got, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i] = got[i][:8]
	}
	want := [][]string{
		{"id", "'=head", "age", "radius", "side", "taken", "smoker", "note"},
		{`'=1+"1"`, "'+x", "40", "-1,5", "left", "2024-02-29", "true", "-3,5"},
		{"b", "'@y", "50", "2,5", "left", "2024-02-29", "false", "'-a;b"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	output.Format = "xlsx"
	book, err := excelize.OpenReader(bytes.NewReader(score(t, src, modelmanager.JobInput{}, output)))
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	for cell, want := range map[string]string{"A2": `'=1+"1"`, "B1": "'=head", "B2": "'+x", "D2": "-1.5", "H3": "'-a;b"} {
		if got, err := book.GetCellValue(book.GetSheetName(0), cell); got != want || err != nil {
			t.Errorf("%s is %q, not %q (%v)", cell, got, want, err)
		}
	}
}
