package web

import (
	"net/http"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// TestTheCheckTellsWhatNoSheetHolds: where it is known that the result has more
// rows than an Excel sheet, that is said before anything runs, with what to
// choose instead; and Excel isn't offered.
func TestTheCheckTellsWhatNoSheetHolds(t *testing.T) {
	check := func(rows int64, format string) string {
		t.Helper()
		result := modelmanager.JobCheck{Input: modelmanager.JobInput{Format: "csv"}, Rows: rows, Complete: true}
		if err := dataset.FitsFormat(format, rows); err != nil {
			result.Problems = []modelmanager.ColumnProblem{{Code: modelmanager.CodeOf(err), Message: err.Error()}}
		}
		api := hostileAPI(t)
		api.json("POST /v1/models/scorer/jobs", result)
		answer := newBrowser(t, newWeb(t, api)).get("/models/scorer/batch?upload=ABCDEFGHIJKLMNOPQRSTUVWXYZ&name=a.csv&as=" + format)
		if answer.Code != http.StatusOK {
			t.Fatalf("%d %s", answer.Code, answer.Body)
		}
		return answer.Body.String()
	}
	page := check(dataset.SheetRows+1, "xlsx")
	for _, want := range []string{"This can't run yet.", "a sheet holds 1048575 below its header", "set “Format” to csv or parquet", "First what is said at the top has to be put right."} {
		if text := saidBy(t, page); !strings.Contains(text, want) {
			t.Errorf("it doesn't say %q: %.600s", want, text)
		}
	}
	for rows, offered := range map[int64]bool{dataset.SheetRows: true, dataset.SheetRows + 1: false} {
		page := check(rows, "")
		if text := saidBy(t, page); strings.Contains(page, `<option value="xlsx">Excel</option>`) != offered || strings.Contains(text, "This can't run yet.") {
			t.Errorf("%d rows: it isn't offered: %t; %.600s", rows, offered, text)
		}
	}
}
