package browser_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/proc"
)

// many is how many rows the long file has. Ten million take some minutes:
// go test ./test/browser -run TestALongFile -args -rows 10000000
var many = flag.Int("rows", 200_000, "rows of the long file")

// TestALongFile takes a long file through the page: each row comes back once, in
// its place, and the server needs no more memory for it.
func TestALongFile(t *testing.T) {
	a, _ := newVisitor(t, "../../examples/models/"+model)
	path := filepath.Join(t.TempDir(), "meadows.csv")
	writeMeadows(t, path, *many)
	started := time.Now()
	stage := func(name string) {
		t.Logf("%s after %s; the server had %d MiB at most", name, time.Since(started).Round(100*time.Millisecond), proc.HighWater(a.pid)>>20)
	}
	a.open("/models/" + model + "/batch")
	a.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{path}), chromedp.Click(chromedp.CSS("form[data-upload] button.primary")))
	a.until("location.search.indexOf('upload=') > 0 && document.readyState === 'complete'")
	a.says("main", "every one fits")
	stage("uploaded and looked at")
	before := proc.HighWater(a.pid)
	if before == 0 {
		t.Fatal("how much memory the server has had isn't known")
	}
	a.clickText("#verdict button", "Predict this file")
	a.until("location.pathname.indexOf('/jobs/') === 0")

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute+time.Duration(*many)*50*time.Microsecond)
	defer cancel()
	id := strings.TrimPrefix(read[string](a, "location.pathname"), "/jobs/")
	var err error
	for job := (modelmanager.Job{}); !job.State.Final(); {
		if !pause.For(ctx, 200*time.Millisecond) {
			t.Fatalf("the job is not done: %+v", job)
		}
		if job, err = a.api.Job(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	a.until("document.getElementById('get') !== null")
	a.says("main", "Every row was predicted.", message.NewPrinter(language.English).Sprintf("The result, %d rows", *many))
	stage("predicted")
	a.checkMeadows(*many)
	stage("downloaded")
	if after := proc.HighWater(a.pid); after > before+256<<20 {
		t.Errorf("the server took %d MiB more for the job", (after-before)>>20)
	}
}

// writeMeadows writes so many plants, of which each says which it is.
func writeMeadows(t *testing.T, path string, rows int) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text := bufio.NewWriter(file)
	fmt.Fprintln(text, "plant,sepal_length,sepal_width,petal_length,petal_width")
	for i := range rows {
		fmt.Fprintf(text, "%d,%d.%d,3.0,%d.%d,1.7\n", i, 4+i%4, i%10, 1+i%6, i%7)
	}
	if err := errors.Join(text.Flush(), file.Close()); err != nil {
		t.Fatal(err)
	}
}

// checkMeadows downloads the result as the page offers it.
func (a *analyst) checkMeadows(rows int) {
	a.t.Helper()
	response, err := http.Get(read[string](a, "document.querySelector('.downloads a.primary').href"))
	if err != nil {
		a.t.Fatal(err)
	}
	defer response.Body.Close()
	result := csv.NewReader(response.Body)
	result.ReuseRecord = true
	header, err := result.Read()
	if err != nil {
		a.t.Fatal(err)
	}
	plant, species := slices.Index(header, "plant"), slices.Index(header, "species")
	if plant < 0 || species < 0 {
		a.t.Fatalf("the result has the columns %q", header)
	}
	for i := range rows {
		row, err := result.Read()
		if err != nil {
			a.t.Fatalf("row %d of the result: %v", i, err)
		}
		if row[plant] != strconv.Itoa(i) || row[species] == "" {
			a.t.Fatalf("row %d of the result is %q", i, row)
		}
	}
	if row, err := result.Read(); !errors.Is(err, io.EOF) {
		a.t.Errorf("after the last row comes %q, %v", row, err)
	}
}
