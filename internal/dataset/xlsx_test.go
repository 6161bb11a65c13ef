package dataset

import (
	"archive/zip"
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	modelmanager "modelmanager.dev"
)

// handmade puts a workbook together from a sheet's XML.
func handmade(t testing.TB, sheet string, date1904 bool) Source {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	properties := ""
	if date1904 {
		properties = `<workbookPr date1904="1"/>`
	}
	for name, text := range map[string]string{
		"xl/workbook.xml": `<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">` +
			properties + `<sheets><sheet name="Data" sheetId="1" r:id="rId1"/></sheets></workbook>`,
		"xl/_rels/workbook.xml.rels": `<Relationships><Relationship Id="rId1" Type="http://x/worksheet" Target="/xl/worksheets/one.xml"/></Relationships>`,
		"xl/sharedStrings.xml":       `<sst><si><t>age</t></si><si><r><t>rad</t></r><r><t>ius</t></r><rPh><t>no</t></rPh></si><si><t>line_x000A_two</t></si></sst>`,
		"xl/styles.xml": `<styleSheet><numFmts><numFmt numFmtId="200" formatCode="[Red]0.00&quot;days&quot;"/><numFmt numFmtId="201" formatCode="[$-407]d/m/yy"/></numFmts>` +
			`<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="200"/><xf numFmtId="201"/></cellXfs></styleSheet>`,
		"xl/worksheets/one.xml": `<worksheet>` + sheet + `</worksheet>`,
	} {
		part, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write([]byte(text))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return NewBytesSource(out.Bytes())
}

func TestWorkbook(t *testing.T) {
	s := patients(t)
	text := func(ref, text string) string {
		return `<c r="` + ref + `" t="inlineStr"><is><t>` + text + `</t></is></c>`
	}
	src := handmade(t, `<sheetData>`+
		`<row r="2"><c r="A2" t="s"><v>0</v></c><c r="B2" t="s"><v>1</v></c>`+text("C2", "side")+text("D2", "taken")+text("E2", "smoker")+text("F2", "zip")+`</row>`+
		`<row r="3"><c r="A3"><v>40</v></c><c r="B3" s="2"><f>A3/16</f><v>2.5</v></c>`+text("C3", "left")+`<c r="D3" s="1"><v>45351</v></c><c r="E3" t="b"><v>1</v></c><c r="F3"><v>1234</v></c></row>`+
		`<row r="4"/>`+
		`<row r="5"><c r="A5"><v>41</v></c><c r="D5" s="3"><v>59</v></c><c r="E5" t="str"><f>x</f><v>TRUE</v></c></row>`+
		`<row r="6"><c r="A6"><v>42</v></c><c r="B6" t="e"><v>#N/A</v></c><c r="E6" t="b"><v>0</v></c></row>`+
		`<row r="7"><c r="A7"><v>43</v></c><c r="B7"><f>A7</f></c><c r="E7" t="b"><v>0</v></c></row>`+
		`<row r="8"><c r="A8"><v>44</v></c><c r="B8" s="1"><v>45351</v></c><c r="E8" t="b"><v>0</v></c></row>`+
		`<row r="9"><c r="A9"><v>45</v></c>`+text("C9", "middle")+`<c r="E9" t="b"><v>0</v></c></row>`+
		`<row r="10"><c r="A10"><v>46</v></c><c r="E10" t="b"><v>0</v></c>`+text("G10", "x")+`</row>`+
		`</sheetData><mergeCells count="2"><mergeCell ref="C3:C5"/><mergeCell ref="B9:C9"/></mergeCells>`, false)
	input, err := Sniff(context.Background(), src, modelmanager.JobInput{}, s)
	if err != nil {
		t.Fatal(err)
	}
	if input.Sheet != "Data" || input.HeaderRow != 2 {
		t.Errorf("sniffed %+v", input)
	}
	batches, _ := read(t, src, input, s)
	want := `{"age":40,"radius":2.5,"side":"left","taken":"2024-02-29","smoker":true}
{"age":41,"radius":null,"side":"left","taken":"1900-02-28","smoker":true}
`
	if diff := cmp.Diff(want, rowsOf(s, batches)); diff != "" {
		t.Error(diff)
	}
	var faults []string
	for _, r := range batches[0].Rejected {
		faults = append(faults, r.Feature+": "+r.Message)
	}
	for i, fault := range []string{"radius: #N/A", "radius: is a formula", "radius", "merged", "column G"} {
		if i >= len(faults) || !strings.Contains(faults[i], fault) {
			t.Errorf("fault %d is not about %s: %q", i, fault, faults)
		}
	}
	if got, want := string(batches[0].Rejected[0].Raw), `{"age":42,"radius":"#N/A","side":null,"taken":null,"smoker":false,"zip":null}`; got != want {
		t.Errorf("raw %s, want %s", got, want)
	}
	if _, err := Sniff(context.Background(), src, modelmanager.JobInput{Sheet: "Dat"}, s); modelmanager.CodeOf(err) != modelmanager.CodeInvalidInput || !strings.Contains(err.Error(), `"Data"`) {
		t.Errorf("a sheet that isn't there: %v", err)
	}
}

func TestWorkbook1904(t *testing.T) {
	s, err := Compile([]modelmanager.Field{{Name: "day", Type: modelmanager.String, Format: modelmanager.FormatDate}})
	if err != nil {
		t.Fatal(err)
	}
	src := handmade(t, `<sheetData><row><c t="inlineStr"><is><t>day</t></is></c></row><row><c s="1"><v>43889</v></c></row></sheetData>`, true)
	batches, _ := read(t, src, modelmanager.JobInput{}, s)
	if got := rowsOf(s, batches); got != "{\"day\":\"2024-02-29\"}\n" {
		t.Errorf("rows %s", got)
	}
}

func TestHostileWorkbook(t *testing.T) {
	s := patients(t)
	for name, src := range map[string]Source{
		"no archive":       NewBytesSource([]byte("PK\x03\x04 nothing")),
		"no sheet":         handmade(t, "", false),
		"broken XML":       handmade(t, "<sheetData><row><c", false),
		"rows that end":    handmade(t, `<sheetData><row><c t="inlineStr"><is><t>age</t></is></c></row>`, false),
		"a row that ends":  handmade(t, `<sheetData><row><c t="inlineStr"><is><t>age</t></is></c>`, false),
		"a text that ends": handmade(t, `<sheetData><row><c t="inlineStr"><is><t>age`, false),
		"no such text":     handmade(t, `<sheetData><row><c t="s"><v>99</v></c></row></sheetData>`, false),
		"out of order":     handmade(t, `<sheetData><row><c r="C1"><v>1</v></c><c r="A1"><v>1</v></c></row></sheetData>`, false),
		"endless columns":  handmade(t, `<sheetData><row><c r="ZZZZ1"><v>1</v></c></row></sheetData>`, false),
		"a number":         handmade(t, `<sheetData><row><c r="A1"><v>x</v></c></row></sheetData>`, false),
	} {
		if _, err := Sniff(context.Background(), src, modelmanager.JobInput{}, s); modelmanager.CodeOf(err) != modelmanager.CodeInvalidInput {
			t.Errorf("%s: %v", name, err)
		}
	}
}
