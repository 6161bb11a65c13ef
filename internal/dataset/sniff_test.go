package dataset

import (
	"bytes"
	"compress/gzip"
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	modelmanager "modelmanager.dev"
)

func TestSniff(t *testing.T) {
	s := patients(t)
	const header = "id,age,radius,side,taken,smoker\n"
	semicolon := strings.ReplaceAll(header, ",", ";")
	zipped := func(text string) string {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		return out.String()
	}
	latin, _ := charmap.Windows1252.NewEncoder().String("Größe;age;radius;side;taken;smoker\nä;1;1,5;left;;true\n")
	wide, _ := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(header + "é,1,1.5,left,,true\n")
	for _, test := range []struct {
		name  string
		text  string
		given modelmanager.JobInput
		want  modelmanager.JobInput // of what is not zero
		fault string                // part of the error; "" for none
	}{
		{name: "commas", text: header + "x,1,1.5,left,2024-01-02,true\n", want: modelmanager.JobInput{Format: "csv", Compression: "none", Delimiter: ",", Encoding: "utf-8", Decimal: ".", HeaderRow: 1, Null: []string{""}}},
		{name: "header alone", text: header, want: modelmanager.JobInput{Format: "csv", Delimiter: ","}},
		{name: "decimal comma", text: semicolon + "x;1;1,5;left;;true\n", want: modelmanager.JobInput{Delimiter: ";", Decimal: ","}},
		{name: "decimal point with semicolons", text: semicolon + "x;1;1.5;left;;true\n", want: modelmanager.JobInput{Delimiter: ";", Decimal: "."}},
		{name: "both decimals", text: semicolon + "x;1;1.5;left;;true\nx;1;1,5;left;;true\n", fault: "input.decimal"},
		{name: "given decimal", text: semicolon + "x;1;1.5;left;;true\n", given: modelmanager.JobInput{Decimal: ","}, want: modelmanager.JobInput{Decimal: ","}},
		{name: "tab", text: strings.ReplaceAll(header, ",", "\t"), want: modelmanager.JobInput{Delimiter: "tab"}},
		{name: "bar", text: strings.ReplaceAll(header, ",", "|"), want: modelmanager.JobInput{Delimiter: "|"}},
		{name: "single spaces", text: "id age radius side\nx 1 1.5 left\ny 2 2.5 right\n", want: modelmanager.JobInput{Delimiter: " ", Decimal: "."}},
		{name: "quoted with single spaces", text: "\"id\" \"age\" \"radius\" \"side\"\n\"a b\" 1 1.5 \"left\"\n", want: modelmanager.JobInput{Delimiter: " "}},
		{name: "aligned", text: " id   age  radius\n  x     1    1.50\n  y    12   20.25\n", fault: `aligned by spaces`},
		{name: "aligned as pandas prints", text: "   age  radius   side\n0    1     1.5   left\n1   22     2.5  right\n", fault: `sep=r"\s+"`},
		{name: "aligned with decimal commas", text: "age  radius  side\n1    1,5     left\n", fault: `sep=r"\s+"`},
		{name: "aligned with blanks in names", text: "patient no   age   radius  side of it\nx            1     1.5     left\n", fault: `aligned by spaces`},
		{name: "aligned with a title", text: "Patients of May\n\nid  age  radius\nx   1    1.5\n", fault: `aligned by spaces`},
		{name: "aligned and said to have single spaces", text: "id  age  radius\nx   1    1.5\n", given: modelmanager.JobInput{Delimiter: " "}, fault: `aligned by spaces`},
		{name: "one column of sentences", text: "comment\nage and radius\nwere not told to us this time\n", want: modelmanager.JobInput{Delimiter: ","}},
		{name: "sentences above the header", text: "The age and the radius  of patients\n" + header + "x,1,1.5,left,,true\n", want: modelmanager.JobInput{Delimiter: ",", HeaderRow: 2}},
		{name: "commas in cells", text: semicolon + "a,b,c,d;1;2;left;;true\na,b,c,d;1;2;left;;true\n", want: modelmanager.JobInput{Delimiter: ";"}},
		{name: "title rows", text: "Report of May\n\nby us,and you\n" + header + "x,1,1.5,left,,true\n", want: modelmanager.JobInput{HeaderRow: 4}},
		{name: "gzip", text: zipped(header), want: modelmanager.JobInput{Compression: "gzip", Format: "csv"}},
		{name: "windows-1252", text: latin, want: modelmanager.JobInput{Encoding: "windows-1252", Delimiter: ";", Decimal: ","}},
		{name: "utf-16", text: wide, want: modelmanager.JobInput{Encoding: "utf-16le", Delimiter: ","}},
		{name: "json lines", text: "\n{\"age\": 1}\n", given: modelmanager.JobInput{Name: "x.csv"}, want: modelmanager.JobInput{Format: "jsonl", Encoding: "utf-8"}},
		{name: "json array", text: "[{\"age\": 1}]", fault: "one object per line"},
		{name: "days first", text: header + "x,1,1.5,left,25/12/2023,true\nx,1,1.5,left,01/02/2023,true\n", want: modelmanager.JobInput{Dates: "DD/MM/YYYY"}},
		{name: "months first", text: header + "x,1,1.5,left,1/2/2023,true\nx,1,1.5,left,12/25/2023,true\n", want: modelmanager.JobInput{Dates: "M/D/YYYY"}},
		{name: "ambiguous dates", text: header + "x,1,1.5,left,01/02/2023,true\n", fault: "DD/MM/YYYY or as MM/DD/YYYY"},
		{name: "given dates", text: header + "x,1,1.5,left,01/02/2023,true\n", given: modelmanager.JobInput{Dates: "MM/DD/YYYY"}, want: modelmanager.JobInput{Dates: "MM/DD/YYYY"}},
		{name: "dots", text: header + "x,1,1.5,left,01.02.2023,true\n", want: modelmanager.JobInput{Dates: "DD.MM.YYYY"}},
		{name: "two kinds of dates", text: header + "x,1,1.5,left,2023-01-01,true\nx,1,1.5,left,25/12/2023,true\n", fault: "one way"},
		{name: "empty", text: "", fault: "the file is empty; without rows"},
		{name: "empty once decompressed", text: zipped(""), given: modelmanager.JobInput{Name: "x.csv.gz"}, fault: "empty once it is decompressed"},
		{name: "no json lines", text: "", given: modelmanager.JobInput{Name: "x.jsonl"}, want: modelmanager.JobInput{Format: "jsonl", Compression: "none", Encoding: "utf-8"}},
		{name: "no json lines, compressed", text: zipped(""), given: modelmanager.JobInput{Name: "x.jsonl.gz"}, want: modelmanager.JobInput{Format: "jsonl", Compression: "gzip"}},
		{name: "blank", text: "\n\n", fault: "no rows"},
		{name: "binary", text: strings.Repeat("\x00\x01\x02\x03", 100), fault: "binary"},
		{name: "garbage", text: strings.Repeat("\x9c\x03\xf1a\x1b\xc8", 100), fault: "binary"},
		{name: "not parquet", text: header, given: modelmanager.JobInput{Name: "x.parquet"}, fault: "something else"},
		{name: "xls", text: "\xd0\xcf\x11\xe0" + strings.Repeat("\x00", 100), fault: ".xlsx"},
		{name: "odd format", text: header, given: modelmanager.JobInput{Format: "xml"}, fault: "input.format"},
		{name: "odd encoding", text: header, given: modelmanager.JobInput{Encoding: "ebcdic"}, fault: "input.encoding"},
		{name: "odd delimiter", text: header, given: modelmanager.JobInput{Delimiter: "::"}, fault: "input.delimiter"},
		{name: "broken gzip", text: zipped(header)[:30], fault: "cut off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Sniff(context.Background(), NewBytesSource([]byte(test.text)), test.given, s)
			if test.fault != "" {
				if modelmanager.CodeOf(err) != modelmanager.CodeInvalidInput || !strings.Contains(err.Error(), test.fault) {
					t.Fatalf("error %v, want one about %q", err, test.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, field := range []struct{ name, got, want string }{
				{"format", got.Format, test.want.Format}, {"compression", got.Compression, test.want.Compression},
				{"delimiter", got.Delimiter, test.want.Delimiter}, {"encoding", got.Encoding, test.want.Encoding},
				{"decimal", got.Decimal, test.want.Decimal}, {"dates", got.Dates, test.want.Dates},
			} {
				if field.want != "" && field.got != field.want {
					t.Errorf("%s is %q, want %q", field.name, field.got, field.want)
				}
			}
			if test.want.HeaderRow > 0 && got.HeaderRow != test.want.HeaderRow {
				t.Errorf("header row %d", got.HeaderRow)
			}
			if again, err := Sniff(context.Background(), NewBytesSource([]byte(test.text)), got, s); err != nil || !cmp.Equal(got, again) {
				t.Errorf("sniffed again it is %+v, was %+v: %v", again, got, err)
			}
		})
	}
	for _, test := range []struct{ text, delimiter, fault string }{
		{text: "mpg cyl disp\n21.0 6 160\n22.8 4 108\n", delimiter: " "},
		{text: "      mpg  cyl  disp\n     21.0    6   160\n     22.8    4   108\n", fault: "aligned by spaces"},
		{text: "name\nJohn Smith\nMary Miller\n", delimiter: ","},
		{text: "full name\nJohn Smith\nMary Miller\n", delimiter: ","},
		{text: "price unit\n12 EUR\n13 EUR\n", delimiter: ","}, // may be one column
		{text: "taken at\n2024-01-02 10:00:00\n2024-01-03 10:00:00\n", delimiter: ","},
	} {
		got, err := Sniff(context.Background(), NewBytesSource([]byte(test.text)), modelmanager.JobInput{}, nil)
		if test.fault != "" && (modelmanager.CodeOf(err) != modelmanager.CodeInvalidInput || !strings.Contains(err.Error(), test.fault)) || test.fault == "" && (err != nil || got.Delimiter != test.delimiter) {
			t.Errorf("without features, %q has delimiter %q, %v; want %q, an error about %q", test.text, got.Delimiter, err, test.delimiter, test.fault)
		}
	}
	if _, err := Sniff(context.Background(), NewBytesSource([]byte("a,b;c\n1,2;3\n")), modelmanager.JobInput{}, nil); modelmanager.CodeOf(err) != modelmanager.CodeInvalidInput {
		t.Errorf("two delimiters that do equally well: %v", err)
	}
}

func TestHeader(t *testing.T) {
	s := patients(t)
	for _, test := range []struct {
		name    string
		header  string
		columns map[string]string
		code    modelmanager.Code
		faults  []string
	}{
		{name: "fits", header: "age,radius,side,taken,smoker"},
		{name: "any order and more", header: "x,smoker,taken,side,radius,age,y"},
		{name: "missing, all at once", header: "Age,radius,side,smokr,y", code: modelmanager.CodeMissingColumn, faults: []string{`age:`, `"Age"`, `"smokr"`, `taken:`}},
		{name: "blanks are no match", header: "age ,radius,side,taken,smoker", code: modelmanager.CodeMissingColumn, faults: []string{`"age "`}},
		{name: "mapped", header: "Age,radius,side,taken,smoker", columns: map[string]string{"age": "Age"}},
		{name: "mapped to nothing", header: "Agee,radius,side,taken,smoker", columns: map[string]string{"age": "Age"}, code: modelmanager.CodeMissingColumn, faults: []string{`"Age"`, `"Agee"`}},
		{name: "mapped twice", header: "n,side,taken,smoker", columns: map[string]string{"age": "n", "radius": "n"}, code: modelmanager.CodeInvalidInput, faults: []string{`"n"`, "two features"}},
		{name: "no feature", header: "age,radius,side,taken,smoker", columns: map[string]string{"smoke": "smoker"}, code: modelmanager.CodeInvalidInput, faults: []string{`"smoke"`, `"smoker"`}},
		{name: "duplicate", header: "age,radius,side,taken,smoker,id,id", code: modelmanager.CodeInvalidInput, faults: []string{`"id"`, "columns 6 and 7"}},
		{name: "nameless", header: "age,radius,side,taken,smoker,,"},
	} {
		t.Run(test.name, func(t *testing.T) {
			input := modelmanager.JobInput{Format: "csv", Columns: test.columns}
			r, err := NewReader(context.Background(), NewBytesSource([]byte(test.header+"\n")), input, s, Whole(), ReaderOptions{})
			if err == nil {
				r.Close()
			}
			if modelmanager.CodeOf(err) != test.code {
				t.Fatalf("error %v", err)
			}
			for _, fault := range test.faults {
				if !strings.Contains(err.Error(), fault) {
					t.Errorf("%v says nothing of %s", err, fault)
				}
			}
		})
	}
}

func TestOutputNames(t *testing.T) {
	predictions := risks(t)
	for _, test := range []struct {
		columns []string
		output  modelmanager.JobOutput
		ok      bool
	}{
		{[]string{"id"}, modelmanager.JobOutput{}, true},
		{[]string{"id", "probability"}, modelmanager.JobOutput{}, false},
		{[]string{"id", "probability"}, modelmanager.JobOutput{Prefix: "new_"}, true},
		{[]string{"scores.a"}, modelmanager.JobOutput{}, false},
		{[]string{"_model"}, modelmanager.JobOutput{}, false},
		{[]string{"_model"}, modelmanager.JobOutput{Add: []string{}}, true},
		{[]string{"_error"}, modelmanager.JobOutput{Rejected: "inline"}, false},
		{[]string{"id"}, modelmanager.JobOutput{Rejected: "maybe"}, false},
		{[]string{"id"}, modelmanager.JobOutput{Add: []string{"model"}}, false},
	} {
		err := CheckOutput(test.columns, predictions, test.output)
		if test.ok != (err == nil) || err != nil && modelmanager.CodeOf(err) != modelmanager.CodeInvalidInput {
			t.Errorf("%v with %+v: %v", test.columns, test.output, err)
		}
	}
}

func TestBrokenCSV(t *testing.T) {
	s := textSchema(t)
	input := modelmanager.JobInput{Format: "csv", HeaderRow: 1}
	for _, test := range []struct{ text, fault string }{
		{"id,text\n1,a\n2,\"b\n\n3,c\n", "line 3"},
		{"id,text\n1,\"" + strings.Repeat("x", maxRecord+10), "never closed"},
		{"id,text\n1," + strings.Repeat("x", 2*maxRecord), "longer than 16 MiB"},
	} {
		_, err := Plan(context.Background(), NewBytesSource([]byte(test.text)), input, 10)
		if modelmanager.CodeOf(err) != modelmanager.CodeInvalidInput || !strings.Contains(err.Error(), test.fault) {
			t.Errorf("error %v, want one about %q", err, test.fault)
		}
	}
	batches, _ := read(t, NewBytesSource([]byte("id,text\n1,a\x00b\n2,\xff\n3,\"a\"b\n4,5\" pipe\n")), modelmanager.JobInput{Encoding: "utf-8"}, s)
	if got := rowsOf(s, batches); got != "{\"text\":\"5\\\" pipe\"}\n" {
		t.Errorf("rows %s", got)
	}
	for i, fault := range []string{"NUL", "UTF-8", "closing quote"} {
		if got := batches[0].Rejected[i]; got.Row != int64(i+1) || !strings.Contains(got.Message, fault) {
			t.Errorf("rejected %+v", got)
		}
	}
}
