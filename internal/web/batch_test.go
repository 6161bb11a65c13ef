package web_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"html"
	"net/http"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"
)

func workbook(t testing.TB, rows ...[]any) []byte {
	t.Helper()
	book := excelize.NewFile()
	defer book.Close()
	for i, row := range rows {
		if err := book.SetSheetRow("Sheet1", fmt.Sprintf("A%d", i+1), &row); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := book.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAWorkbookInAWorkbookOut(t *testing.T) {
	w := newJobsWorld(t)
	status, page := w.upload(`C:\data\my file.xlsx`, workbook(t,
		[]any{"Name", "Amount", "Side"}, []any{"a", 1, "left"}, []any{"=1+1", "much", "right"}, []any{"c", 3, "up"}, []any{"d", 13, "left"}))
	if status != http.StatusOK || w.at.Query().Get("name") != "my file.xlsx" {
		t.Fatalf("%d %s %s", status, w.at, mainOf(page))
	}
	has(t, page, "This can't run yet: 1 feature has no column.", "Excel, sheet “Sheet1”, names in row 1", "up", "similar name", "disabled aria-describedby")
	form := checkForm(t, page)
	form.Set("column.x", "Amount")
	form.Set("formulas", "escape")

	// To run what was changed is to look at it first.
	status, page = w.submit("/models/doubler/batch/run", form)
	if status != http.StatusOK || w.at.Query().Get("column.x") != "Amount" {
		t.Fatalf("%d %s", status, w.at)
	}
	has(t, page, "You changed how the file is read.", "2 of all 4 rows don't fit, and would be set aside.", `"much" is not a number`, "Row 2", "by hand")
	if reloaded := w.page(w.at.String()); mainOf(reloaded) == "" {
		t.Error("the address alone doesn't show the page")
	}

	form = checkForm(t, page)
	if form.Get("formulas") != "escape" || form.Get("column.x") != "Amount" {
		t.Fatalf("what was chosen is forgotten: %v", form)
	}
	if status, page = w.submit("/models/doubler/batch/run", form); status != http.StatusOK || !strings.HasPrefix(w.at.Path, "/jobs/") {
		t.Fatalf("%d %s %s", status, w.at, mainOf(page))
	}
	first := w.at.Path
	// The same form again is the same job.
	if w.submit("/models/doubler/batch/run", form); w.at.Path != first {
		t.Errorf("a form that was sent twice made two jobs, %s and %s", first, w.at.Path)
	}
	job := w.finished()
	if job.Rows.Predicted != 1 || job.Rows.Rejected != 3 || job.Input.Columns["x"] != "Amount" {
		t.Fatalf("%+v", job)
	}
	page = w.page(first)
	has(t, page, "Done, with rejected rows", "1 row predicted, and 3 rows set aside with the reason.", "13 brings bad luck", "2 CPU-hours", "x is “Amount”")

	response, body := w.download(first + "/output")
	if got := response.Header.Get("Content-Disposition"); got != `attachment; filename="my file-predicted.xlsx"` {
		t.Error(got)
	}
	rows := sheetRows(t, body)
	if len(rows) != 2 || rows[0][3] != "y" || rows[1][0] != "a" || rows[1][3] != "2" || rows[1][4] != "'=odd" {
		t.Errorf("%q", rows)
	}
	_, body = w.download(first + "/rejected?format=xlsx")
	rows = sheetRows(t, body)
	if len(rows) != 4 || strings.Join(rows[0], " ") != "Name Amount Side _row _column _error" || rows[1][0] != "'=1+1" || rows[1][1] != "much" || rows[1][3] != "2" || rows[3][5] != "13 brings bad luck" {
		t.Errorf("%q", rows)
	}

	// The next file with these names is matched alike.
	_, page = w.upload("next.xlsx", workbook(t, []any{"Name", "Amount", "Side"}, []any{"a", 1, "left"}))
	has(t, page, "The columns are matched as you did the last time", "as last time", "the only row, every one fits")
	_, page = w.upload("turned.xlsx", workbook(t, []any{"Amount", "Side", "Name"}, []any{1, "left", "a"}))
	has(t, page, "The columns are matched as you did the last time", "the only row, every one fits")
	_, page = w.upload("other.xlsx", workbook(t, []any{"Amount", "Name", "Side", "More"}, []any{1, "a", "left", "b"}))
	has(t, page, "This can't run yet")
}

func sheetRows(t testing.TB, data []byte) [][]string {
	t.Helper()
	book, err := excelize.OpenReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	rows, err := book.GetRows(book.GetSheetName(0))
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestCellsAreReadAsLastTime: what a cell means is said once for files with the
// same headers, and can be said otherwise, or taken back.
func TestCellsAreReadAsLastTime(t *testing.T) {
	w := newJobsWorld(t)
	const text = "x;side;note\n1,5;left;a\n-;left;b\n"
	predict := func(page string) {
		t.Helper()
		if status, page := w.submit("/models/doubler/batch/run", checkForm(t, page)); status != http.StatusOK || !strings.HasPrefix(w.at.Path, "/jobs/") {
			t.Fatalf("%d %s %s", status, w.at, mainOf(page))
		}
	}
	_, page := w.upload("a.csv", []byte(text))
	form := checkForm(t, page)
	form.Set("null", "-")
	form.Set("decimal", ",")
	_, page = w.submit("/models/doubler/batch/check", form)
	has(t, page, "empty: -")
	predict(page)

	_, page = w.upload("b.csv", []byte("note;x;side\na;2,5;left\nb;-;left\n"))
	has(t, page, "empty: -, as you said the last time")
	form = checkForm(t, page)
	form.Set("null", "?")
	_, page = w.submit("/models/doubler/batch/check", form)
	has(t, page, "empty: ?")
	if strings.Contains(page, "last time") {
		t.Error("what was said otherwise is taken for what was said the last time")
	}
	predict(page)
	_, page = w.upload("c.csv", []byte(text))
	has(t, page, "empty: ?, as you said the last time")
	_, page = w.upload("d.csv", []byte("x;side;more\n1,5;left;a\n"))
	if strings.Contains(page, "last time") {
		t.Error("other headers are read as the ones before")
	}
}

func TestADialectIsCorrected(t *testing.T) {
	w := newJobsWorld(t)
	_, page := w.upload("a.csv", []byte("x;side;note\n1,5;left;a\n2,5;right;NA\nNA;left;b\n"))
	has(t, page, "CSV with semicolons", "decimals like 1,5")
	form := checkForm(t, page)
	form.Set("null", "NA")
	_, page = w.submit("/models/doubler/batch/check", form)
	if got := w.at.Query(); got.Get("null") != "NA" || got.Get("delimiter") != "" {
		t.Errorf("the address has %v", got)
	}
	form = checkForm(t, page)
	form.Set("delimiter", "|")
	_, page = w.submit("/models/doubler/batch/check", form)
	has(t, page, "This can't run yet", "CSV with bars")
	form = checkForm(t, page)
	form.Set("delimiter", ";")
	form.Set("header_row", "99")
	if status, _ := w.submit("/models/doubler/batch/check", form); status != http.StatusUnprocessableEntity && status != http.StatusOK {
		t.Errorf("%d", status)
	}
}

// TestAColumnStaysMatched: what a cell means is corrected without losing which
// column was said to be what; read with other columns, the file begins anew.
func TestAColumnStaysMatched(t *testing.T) {
	w := newJobsWorld(t)
	_, page := w.upload("a.csv", []byte("Name;Amount;side\na;1,5;left\nb;NA;left\n"))
	form := checkForm(t, page)
	form.Set("column.x", "Amount")
	_, page = w.submit("/models/doubler/batch/check", form)
	for name, value := range map[string]string{"null": "NA", "dates": "DD.MM.YYYY", "decimal": "."} {
		form = checkForm(t, page)
		form.Set(name, value)
		if w.submit("/models/doubler/batch/check", form); w.at.Query().Get("column.x") != "Amount" || w.at.Query().Get(name) != value {
			t.Errorf("%s: the address has %v", name, w.at.Query())
		}
	}
	form = checkForm(t, page)
	form.Set("delimiter", "|")
	if w.submit("/models/doubler/batch/check", form); w.at.Query().Has("column.x") {
		t.Errorf("the address has %v", w.at.Query())
	}
}

func TestAJobRunsAsItWasShown(t *testing.T) {
	w := newJobsWorld(t)
	_, page := w.upload("a.csv", []byte("id;x;side\n1;1,5;left\n2;much;left\n"))
	form := checkForm(t, page)
	form.Set("stop", "after")
	form.Set("max_rejected", "many")
	_, page = w.submit("/models/doubler/batch/check", form)
	has(t, page, `id="w-limit"`, "1 of all 2 rows doesn't fit", "write a number of rows, 100, or a percentage")
	form = checkForm(t, page)
	form.Set("max_rejected", "50%")
	form.Set("rejected", "inline")
	form.Set("as", "jsonl")
	form.Set("plain", "1")
	w.submit("/models/doubler/batch/run", form)
	job := w.finished()
	if job.State != "succeeded" || job.MaxRejected != "50%" || job.Output.Rejected != "inline" || job.Output.Format != "jsonl" || len(job.Output.Add) != 0 {
		t.Errorf("%+v", job)
	}
	response, body := w.download(w.at.Path + "/output")
	if response.Header.Get("Content-Type") != "application/x-ndjson" || strings.Count(string(body), "\n") != 2 || !strings.Contains(string(body), `"y":3`) {
		t.Errorf("%v %s", response.Header, body)
	}
	_, body = w.download(w.at.Path + "/rejected?format=csv")
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(body), "\ufeff")))
	r.Comma = ';'
	if rows, err := r.ReadAll(); err != nil || len(rows) != 2 || rows[1][1] != "much" {
		t.Errorf("%q %v", rows, err)
	}
}

func TestWhatIsRefusedIsSaidWhereItIs(t *testing.T) {
	w := newJobsWorld(t)
	if status, page := w.upload("", nil); status != http.StatusBadRequest || !strings.Contains(page, "No file was chosen") || !strings.Contains(page, `type="file"`) {
		t.Errorf("%d %s", status, mainOf(page))
	}
	if status, page := w.upload("a.xlsx", []byte("PK\x03\x04 is no workbook")); status != http.StatusUnprocessableEntity || !strings.Contains(page, "This file can") {
		t.Errorf("%d %s", status, mainOf(page))
	}
	if status, page := w.upload("empty.csv", nil); status != http.StatusUnprocessableEntity || !strings.Contains(mainOf(page), "empty") {
		t.Errorf("%d %s", status, mainOf(page))
	}
	if status, page := w.visit("/models/doubler/batch?upload=ABCDEFGHIJKLMNOPQRSTUVWXYZ&name=a.csv"); status != http.StatusNotFound || !strings.Contains(page, "isn’t there any more") {
		t.Errorf("%d %s", status, mainOf(page))
	}
	if status, _ := w.visit("/models/nobody/batch"); status != http.StatusNotFound {
		t.Errorf("%d", status)
	}
	// A name is text, wherever it is shown.
	_, page := w.upload(`<script>alert(1)</script>.csv`, []byte("x,side,<b>\n1,left,<i>\n"))
	if strings.Contains(page, "<b>,") || strings.Contains(page, "<i>") || strings.Contains(page, "<script>alert") {
		t.Error("a file's text is taken for the page's")
	}
	_, page = w.upload("a.csv", []byte("x,side,y\n1,left,2\n"))
	has(t, page, "This can't run yet", "set “Put before the names of predictions”")
	form := checkForm(t, page)
	form.Set("prefix", "new_")
	_, page = w.submit("/models/doubler/batch/check", form)
	has(t, page, "every one fits")
	form = checkForm(t, page)
	form.Del("csrf")
	if status, _ := w.submit("/models/doubler/batch/run", form); status != http.StatusForbidden {
		t.Errorf("without a token: %d", status)
	}
}

// TestWhatIsWrongIsSaidInThePagesWords: a message names a field of the page, not
// an option of the API, and is a sentence.
func TestWhatIsWrongIsSaidInThePagesWords(t *testing.T) {
	w := newJobsWorld(t)
	_, page := w.upload("a.csv", []byte("x,side\n\"1,5\",left\nNA,left\n"))
	has(t, page, "None of all 2 rows fits", "if , is the decimal mark, set “Decimals are written” to", "list it in “Also means empty”")
	if strings.Contains(mainOf(page), "input.") {
		t.Errorf("it speaks as the API does: %s", mainOf(page))
	}
	w.submit("/models/doubler/batch/run", checkForm(t, page))
	w.finished()
	has(t, w.page(w.at.Path), "No row could be predicted.", "set “Decimals are written” to")
	_, page = w.upload("a.csv", []byte("x,x,side\n1,2,left\n"))
	has(t, page, "This file can't be read as it is.", "The header doesn't fit the model", "rename one of them.")
	_, page = w.upload("a.csv", []byte("x,side\n"))
	has(t, page, "The file has no rows below its header.", "There is nothing to predict.", "disabled aria-describedby")
}

// TestEveryRowIsChecked: what only the first rows are counted for says so, and
// all can be looked at before anything runs, with or without a script.
func TestEveryRowIsChecked(t *testing.T) {
	w := newJobsWorld(t)
	rows := strings.Replace(string(rowsOf(25_000)), "r9000,0,left", "r9000,much,left", 1) + "r,much,left\nr,1,up\n"
	_, page := w.upload("a.csv", []byte(rows))
	has(t, page, "1 of the first 10,000 rows doesn't fit", "These numbers are of the first 10,000 rows only.", "1 row of the first 10,000 rows")
	_, rest, _ := strings.Cut(page, `<a class="button" href="`)
	address, _, _ := strings.Cut(rest, `" data-whole`)
	address = html.UnescapeString(address)
	has(t, w.page(address), "3 of all 25,002 rows don't fit", "2 rows", "Row 25,001")

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.absolute(address), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	_, events := w.send(request)
	progress, shown, found := strings.Cut(events, "event: page\n")
	if !found || !strings.HasPrefix(progress, "event: progress\ndata: {\"percent\":") || !strings.Contains(shown, "3 of all 25,002 rows") || strings.Contains(shown, "<html") {
		t.Errorf("%.300s", events)
	}
	request.URL.RawQuery = strings.Replace(request.URL.RawQuery, "upload=", "upload=X", 1)
	if _, events := w.send(request); strings.Contains(events, "event: page") && !strings.Contains(events, "isn’t there any more") {
		t.Errorf("%.300s", events)
	}
}

// TestAFileThatIsTooLarge: the page says how large one may be, and of a larger
// one so, beside the field, before or while it comes; nothing of it is kept.
func TestAFileThatIsTooLarge(t *testing.T) {
	w := newJobsWorldOf(t, "mem://", 1<<20)
	page := w.page("/models/doubler/batch?version=1")
	has(t, page, "It may have at most 1.0 MB.")
	if !strings.Contains(page, `data-most="1048576"`) || !strings.Contains(page, `data-too-large="This file is too large: it may have at most 1.0 MB."`) {
		t.Error("a script can't tell before it sends the file")
	}
	line := []byte("x,side\n")
	for name, content := range map[string][]byte{
		"far.csv":  bytes.Repeat(line, 200_000),
		"near.csv": append(bytes.Repeat([]byte("x"), 1<<20), 'x'), // only its end tells
	} {
		status, page := w.uploadFrom("/models/doubler/batch?version=1", name, content)
		_, wrong, _ := strings.Cut(page, `id="file-wrong" role="alert"`)
		wrong, _, _ = strings.Cut(wrong, "</p>")
		if status != http.StatusRequestEntityTooLarge || !strings.Contains(wrong, "This file is too large: it may have at most 1.0 MB.") || !strings.Contains(page, `name="version" value="1"`) {
			t.Errorf("%s: %d %s", name, status, wrong)
		}
	}
	objects, err := w.bucket.List(t.Context(), "uploads/", "", 0)
	for _, object := range objects { // those of what was published are there
		if err != nil || object.Size > 1000 {
			t.Errorf("%s with %d bytes is kept, %v", object.Key, object.Size, err)
		}
	}
	if status, page := w.upload("fits.csv", bytes.Repeat([]byte("1,left\n"), 100_000)); status == http.StatusRequestEntityTooLarge {
		t.Error(mainOf(page))
	}
}

// TestThePageTellsWhatThereIsRoomFor: on a disk, no more than that is taken.
func TestThePageTellsWhatThereIsRoomFor(t *testing.T) {
	w := newJobsWorldOf(t, "file://"+t.TempDir(), 1<<44) // more than any disk has
	limits, err := w.api.Limits(t.Context())
	if err != nil || limits.UploadRoom == nil || *limits.UploadRoom <= 0 || *limits.UploadRoom >= limits.UploadBytes {
		t.Fatalf("%+v %v", limits, err)
	}
	if page := w.page("/models/doubler/batch"); !strings.Contains(page, `data-too-large="There is no room for this file: the server’s disk has `) {
		t.Error("it doesn't say so")
	}
}

// TestAFileForAVersion: who asks for a version has the file predicted by it.
func TestAFileForAVersion(t *testing.T) {
	w := newJobsWorld(t)
	has(t, w.page("/models/doubler/batch?version=1"), "To be predicted with version 1 .")
	_, page := w.uploadFrom("/models/doubler/batch?version=1", "a.csv", rowsOf(5))
	has(t, page, "To be predicted with doubler , version 1.")
	if got := w.at.Query().Get("version"); got != "1" {
		t.Errorf("the address has version %q", got)
	}
	has(t, page, "Choose another file")
	if !strings.Contains(page, `href="/models/doubler/batch?version=1"`) {
		t.Error("another file would be for another version")
	}
	if status, page := w.uploadFrom("/models/doubler/batch?version=1", "", nil); status != http.StatusBadRequest || !strings.Contains(page, `name="version" value="1"`) {
		t.Errorf("%d: what went wrong has made it another version's: %s", status, mainOf(page))
	}

	// Another version wants other columns, and answers: the page and its
	// templates say those of the version that was asked for.
	w.publishAs(map[string]any{
		"features": []any{map[string]any{"name": "amount", "type": "number"}},
		"examples": []any{map[string]any{"features": map[string]any{"amount": 7}}},
	})
	for address, wants := range map[string][]string{"/models/doubler/batch": {"amount", "amount\n7\n"}, "/models/doubler/batch?version=1": {"side", "x,side\n1,left\n"}} {
		page := w.page(address)
		_, needed, _ := strings.Cut(page, `id="needed"`)
		needed, _, _ = strings.Cut(needed, "</table>")
		if other := map[string]string{"amount": "side", "side": "amount"}[wants[0]]; !strings.Contains(needed, wants[0]) || strings.Contains(needed, other) {
			t.Errorf("%s lists %s", address, needed)
		}
		for _, name := range []string{"template.csv", "template.xlsx"} {
			_, rest, _ := strings.Cut(needed, `href="/models/doubler/batch/template/`+name)
			query, _, _ := strings.Cut(rest, `"`)
			_, body := w.download("/models/doubler/batch/template/" + name + html.UnescapeString(query))
			text := string(body)
			if name == "template.xlsx" {
				text = ""
				for _, row := range sheetRows(t, body) {
					text += strings.Join(row, ",") + "\n"
				}
			}
			if text != wants[1] {
				t.Errorf("the %s of %s is %q, not %q", name, address, text, wants[1])
			}
		}
	}
	for _, address := range []string{"/models/doubler/batch/template/template.csv?version=x", "/models/doubler/batch?version=0"} {
		if status, _ := w.visit(address); status != http.StatusBadRequest {
			t.Errorf("%s: %d", address, status)
		}
	}
	if status, _ := w.visit("/models/doubler/batch?version=x"); status != http.StatusBadRequest {
		t.Errorf("%d", status)
	}
}

func TestATemplateFits(t *testing.T) {
	w := newJobsWorld(t)
	for _, name := range []string{"template.csv", "template.xlsx"} {
		_, body := w.download("/models/doubler/batch/template/" + name)
		_, page := w.upload(name, body)
		has(t, page, "Of the only row, every one fits.")
	}
}
