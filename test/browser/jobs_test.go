// Package browser_test walks the pages in a real browser, against a real
// server with real models. MM_BROWSER_SHOTS names a folder for pictures of
// every page.
package browser_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/xuri/excelize/v2"

	"modelmanager.dev"
)

const model = "iris-species-go"

// flowers is an analyst's workbook: a title above the names, one name that
// means nothing to the model, two cells that can't be.
func flowers(t *testing.T) []byte {
	t.Helper()
	book := excelize.NewFile()
	defer book.Close()
	rows := [][]any{
		{"Flowers of the east meadow"},
		{"Plant", "Sepal Length", "sepal width", "Blatt", "petal_width", "Remark"},
		{"p-1", 5.1, 3.5, 1.4, 0.2, ""},
		{"p-2", 6.7, 3.0, 5.0, 1.7, "=2+2"},
		{"p-3", "much", 3.0, 5.0, 1.7, "see notebook"},
		{"p-4", 6.0, 2.7, 5.1, 1.6, ""},
		{"p-5", 5.9, 3.0, 99, 1.8, ""},
	}
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

func TestAnAnalystsWorkbook(t *testing.T) {
	a, _ := newVisitor(t, "../../examples/models/"+model)
	a.do(chromedp.Navigate(a.server+"/models/"+model+"/batch"), chromedp.WaitVisible(chromedp.CSS("[data-dropped]")))
	a.seen("batch-upload")

	// Drop the file.
	a.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`(function () {
		var bytes = Uint8Array.from(atob(%q), function (c) { return c.charCodeAt(0); });
		var files = new DataTransfer();
		files.items.add(new File([bytes], 'east meadow.xlsx'));
		document.querySelector('form[data-upload]').dispatchEvent(new DragEvent('drop', {dataTransfer: files, bubbles: true, cancelable: true}));
	})()`, base64.StdEncoding.EncodeToString(flowers(t)))))
	a.until("location.search.indexOf('upload=') > 0 && document.readyState === 'complete'")
	if text := a.text("#verdict"); !strings.Contains(text, "1 feature has no column") {
		t.Errorf("the verdict is %q", text)
	}
	a.seen("batch-check-missing")

	// Say which column it is.
	a.do(chromedp.SetValue(chromedp.CSS("#c-petal_length"), "Blatt"))
	a.do(chromedp.Evaluate[chromedp.Void]("document.getElementById('c-petal_length').closest('section').querySelector('.actions button').click()"))
	a.until("location.search.indexOf('column.petal_length=Blatt') > 0 && document.readyState === 'complete'")
	if text := a.text("#verdict"); !strings.Contains(text, "2 of all 5 rows don't fit") {
		t.Errorf("the verdict is %q", text)
	}
	if text := a.text(".problems"); !strings.Contains(text, "Row 3 much") || !strings.Contains(text, "99 is above the maximum") {
		t.Errorf("the problems are %q", text)
	}
	a.seen("batch-check")
	a.do(chromedp.Click(chromedp.CSS("input[name=formulas]")), chromedp.Click(chromedp.CSS("#result ~ .actions button.primary")))

	// Watch it. The page shows the results by itself.
	a.until("location.pathname.indexOf('/jobs/') === 0 && document.getElementById('get') !== null")
	if text := a.text("main"); !strings.Contains(text, "3 rows predicted, and 2 rows set aside with the reason.") || !strings.Contains(text, "From all 3 rows.") {
		t.Errorf("the job's page says %q", text)
	}
	a.seen("job-done")
	a.compareResult()

	// It is in the list, and can be found again.
	a.do(chromedp.Navigate(a.server+"/jobs"), chromedp.WaitVisible(chromedp.CSS(".jobs-table")))
	if text := a.text(".jobs-table"); !strings.Contains(text, "east meadow.xlsx") {
		t.Errorf("the list says %q", text)
	}
	a.do(chromedp.Evaluate[chromedp.Void]("(function (state) { state.value = 'failed'; state.dispatchEvent(new Event('change', {bubbles: true})); })(document.getElementById('state'))"))
	a.until("document.querySelector('#results .empty') !== null && location.search.indexOf('state=failed') > 0")
	a.do(chromedp.Evaluate[chromedp.Void]("history.back()"))
	a.until("location.search.indexOf('state=failed') < 0 && document.querySelector('.jobs-table') !== null")
	a.seen("jobs")
}

// compareResult opens the downloads, and compares them with what the API says.
func (a *analyst) compareResult() {
	t := a.t
	data, name := a.fetch(".downloads a.primary")
	if !strings.Contains(name, "east meadow-predicted.xlsx") {
		t.Errorf("the result is called %q", name)
	}
	rows := sheet(t, data)
	if len(rows) != 4 {
		t.Fatalf("the result is %q", rows)
	}
	at := map[string]int{}
	for i, header := range rows[0] {
		at[header] = i
	}
	for i, flower := range []string{
		`{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}`,
		`{"sepal_length": 6.7, "sepal_width": 3.0, "petal_length": 5.0, "petal_width": 1.7}`,
		`{"sepal_length": 6.0, "sepal_width": 2.7, "petal_length": 5.1, "petal_width": 1.6}`,
	} {
		answer, err := a.api.Predict(t.Context(), model, 0, modelmanager.PredictRequest{Rows: []json.RawMessage{json.RawMessage(flower)}})
		if err != nil {
			t.Fatal(err)
		}
		var want struct {
			Species     string
			Probability []float64
		}
		if err := json.Unmarshal(answer.Predictions[0], &want); err != nil {
			t.Fatal(err)
		}
		row := rows[i+1]
		if row[at["species"]] != want.Species {
			t.Errorf("row %d is %q, and the API says %s", i+1, row, want.Species)
		}
		for j, label := range []string{"setosa", "versicolor", "virginica"} {
			got, err := strconv.ParseFloat(row[at["probability."+label]], 64)
			if err != nil || got-want.Probability[j] > 1e-9 || want.Probability[j]-got > 1e-9 {
				t.Errorf("row %d has %v for %s, and the API %v", i+1, got, label, want.Probability[j])
			}
		}
	}
	if rows[1][0] != "p-1" || rows[2][at["Remark"]] != "'=2+2" || rows[3][0] != "p-4" {
		t.Errorf("the file's own columns are %q", rows)
	}
	data, name = a.fetch(".downloads a[href$='format=xlsx']")
	rows = sheet(t, data)
	if !strings.Contains(name, "east meadow-rejected.xlsx") || len(rows) != 3 || rows[1][0] != "p-3" || rows[1][1] != "much" ||
		!strings.Contains(rows[1][len(rows[0])-1], "not a number") || rows[2][0] != "p-5" || rows[2][3] != "99" {
		t.Errorf("%s: %q", name, rows)
	}
}

func sheet(t *testing.T, data []byte) [][]string {
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

// TestALongJobIsWatchedAndCancelled uses the file field, as a keyboard does.
func TestALongJobIsWatchedAndCancelled(t *testing.T) {
	a, _ := newVisitor(t, "../../examples/models/"+model)
	path := filepath.Join(t.TempDir(), "a whole meadow.csv")
	var text bytes.Buffer
	text.WriteString("plant;sepal_length;sepal_width;petal_length;petal_width\n")
	for i := range 1_000_000 {
		fmt.Fprintf(&text, "p-%d;%d,%d;3,0;5,0;1,7\n", i, 4+i%4, i%10)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	a.do(chromedp.Navigate(a.server+"/models/"+model+"/batch"), chromedp.WaitVisible(chromedp.CSS("[data-dropped]")),
		chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{path}), chromedp.Click(chromedp.CSS("form[data-upload] button.primary")))
	a.until("location.search.indexOf('upload=') > 0 && document.readyState === 'complete'")
	if text := a.text("main"); !strings.Contains(text, "the first 10,000 rows, every one fits") || !strings.Contains(text, "CSV with semicolons, utf-8, decimals like 1,5") {
		t.Errorf("the check says %.500q", text)
	}
	// Back at the upload, the form can be used again.
	a.do(chromedp.Evaluate[chromedp.Void]("history.back()"))
	a.until("location.search === '' && document.querySelector('form[data-upload]') !== null && !document.querySelector('form[data-upload] button.primary').disabled")
	a.do(chromedp.Evaluate[chromedp.Void]("history.forward()"))
	a.until("location.search.indexOf('upload=') > 0 && document.readyState === 'complete' && document.querySelector('a[data-whole]') !== null")
	a.do(chromedp.Evaluate[chromedp.Void]("document.querySelector('a[data-whole]').click()"))
	a.until("document.querySelector('#verdict').innerText.indexOf('Of all 1,000,000 rows, every one fits.') >= 0 && location.search.indexOf('whole=1') > 0")
	a.seen("batch-check-whole")
	a.do(chromedp.Evaluate[chromedp.Void]("document.querySelector('#verdict button.primary').click()"))
	a.until("location.pathname.indexOf('/jobs/') === 0 && document.querySelector('[data-live] progress[value]') !== null && document.querySelector('[data-live] progress').value > 2")
	first := read[float64](a, "document.querySelector('[data-live] progress').value")
	a.seen("job-running")
	a.until(fmt.Sprintf("document.querySelector('[data-live] progress') === null || document.querySelector('[data-live] progress').value > %v", first))
	a.do(chromedp.Navigate(a.server + "/operations"))
	if text := a.text(".figures"); !strings.Contains(text, "Jobs running 1") {
		t.Errorf("operations say %q", text)
	}
	a.seen("operations")
	// Back, the page goes on where the job is by now.
	a.do(chromedp.Evaluate[chromedp.Void]("history.back()"))
	a.until(fmt.Sprintf("document.querySelector('[data-live] progress') !== null && document.querySelector('[data-live] progress').value > %v", first+1))
	a.do(chromedp.Evaluate[chromedp.Void]("document.querySelector('details.confirm summary').click(); document.querySelector('details.confirm form button').click()"))
	a.until("document.querySelector('.jobstate.cancelled') !== null && document.querySelector('[data-live]') === null")
	a.seen("job-cancelled")
}
