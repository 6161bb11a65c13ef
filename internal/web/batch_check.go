package web

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/spec"
)

// checkPage shows how a file is read, and what is wrong with it, before
// anything runs.
type checkPage struct {
	Model    string
	Name     string // of the file
	Request  modelmanager.JobRequest
	Choose   string // where another file is chosen
	Key      string // of the job that the form makes: sent twice, it is one job
	Dialect  []dialectField
	ReadAs   string // the same in a sentence
	Columns  []columnRow
	Headers  []string // for features that have too many to choose from
	Through  []string // columns that only pass through
	Problems []problemRow
	First    previewTable
	Verdict  verdict
	Wrong    *problem.Problem // why the file can't be read, or the job was not accepted
	Gone     bool             // the file isn't there any more
	Doubtful bool             // the file may be read wrongly
	Recalled bool             // columns were matched as last time
	Reread   bool             // cells are read as last time
	Formats  []choice         // of the result
	Never    bool             // stop for rejected rows
	Limit    string
	NoLimit  string // why it is none
	Plain    bool
	Inline   bool
	Escape   bool
	Part     string // "of the first 10,000 rows", where only those were looked at
	Whole    string // the address that looks at all; "": all have been

	failed error // why the file can't be read, or the job was not accepted
}

// verdict is what comes of it all, in a sentence.
type verdict struct {
	Class string // good, warn, bad
	Text  string
	More  string
	Ready bool // it can run
}

// choice is one of several values.
type choice struct {
	Value, Name string
	On          bool
}

// previewTable is the first rows of a file.
type previewTable struct {
	Headers []previewHeader
	Rows    [][]string
}

type previewHeader struct{ Name, Feature string }

// problemRow is one column's problems.
type problemRow struct {
	modelmanager.ColumnProblem
	Header string
	Rows   string // how many, in words
	More   int64  // than are shown
}

// checked looks at a request, and notes on the page what it changed to do so.
type checked func(request modelmanager.JobRequest, page *checkPage) (modelmanager.JobCheck, error)

// batchCheck shows a request before it runs; wrong is why it didn't.
func (v *visit) batchCheck(request modelmanager.JobRequest, wrong error) error {
	return v.showCheck(request, func(request modelmanager.JobRequest, page *checkPage) (modelmanager.JobCheck, error) {
		check, err := v.check(request, page)
		if wrong != nil {
			page.failed = wrong
		}
		return check, err
	})
}

// showCheck shows what comes of looking at a request.
func (v *visit) showCheck(request modelmanager.JobRequest, look checked) error {
	page, model, err := v.checkPage(request, look)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if page.Wrong != nil {
		status = page.Wrong.Status
	}
	return v.pageStatus(status, "batch-check", "models", page.Name+" for "+model, page)
}

// checkPage makes the page of a request.
func (v *visit) checkPage(request modelmanager.JobRequest, look checked) (*checkPage, string, error) {
	model, parsed, err := v.batchModel(request.Version)
	if err != nil {
		return nil, "", err
	}
	page := &checkPage{
		Model: model.Name, Request: request, Choose: choosePath(model.Name, request.Version), Key: randomID(), Never: request.MaxRejected == noLimit, Limit: request.MaxRejected,
		Plain: request.Output.Add != nil, Inline: request.Output.Rejected == "inline", Escape: request.Output.Formulas == "escape",
	}
	if page.Name = request.Input.Name; page.Name == "" {
		page.Name = path.Base(request.Input.URI)
	}
	if page.Never {
		page.Limit = "0"
	}
	check, err := look(request, page)
	if page.failed == nil {
		page.failed = err
	}
	if page.failed != nil {
		p := problem.Of(page.failed)
		page.Wrong, page.Gone = &p, p.Code == modelmanager.CodeNotFound
		if p.Code == modelmanager.CodeUnauthenticated {
			return nil, "", page.failed
		}
	}
	if err != nil {
		check = modelmanager.JobCheck{Input: request.Input}
		page.Verdict = verdict{Class: "bad", Text: "This file can't be read as it is."}
		if modelmanager.CodeOf(err) == modelmanager.CodeBadRequest {
			page.Verdict.Text = "This isn't possible."
		}
	}
	page.describe(page.Request, check, parsed, err == nil)
	if err == nil && !check.Complete {
		whole := page.Request
		if page.NoLimit != "" {
			whole.MaxRejected = noLimit
		}
		page.Whole = checkAddress(model.Name, whole) + "&" + wholeParameter + "=1"
	}
	return page, model.Name, nil
}

// check asks the API, with what was said before of a file with the same headers:
// which columns are what, and what cells mean.
func (v *visit) check(request modelmanager.JobRequest, page *checkPage) (modelmanager.JobCheck, error) {
	model := v.r.PathValue("model")
	check, err := v.api().CheckJob(v.ctx(), model, request)
	if modelmanager.CodeOf(err) == modelmanager.CodeBadRequest && strings.HasPrefix(err.Error(), "max_rejected") {
		page.NoLimit = sentence(err.Error())
		request.MaxRejected = noLimit // what is wrong with the file can be said all the same
		check, err = v.api().CheckJob(v.ctx(), model, request)
	}
	if err != nil || len(request.Input.Columns) > 0 || v.query("matched") != "" {
		return check, err
	}
	last := v.recall(check.Headers)
	values := parametersOf(request)
	reread := false
	for name, value := range last.cells {
		if values.Get(name) == "" && dialectValue(check.Input, name) != value {
			values.Set(name, value)
			reread = true
		}
	}
	recalled := !fits(last.columns, check.Mapping)
	if !recalled && !reread {
		return check, err
	}
	request.Input = requestOf(values).Input
	request.Input.Columns = last.columns
	again, err := v.api().CheckJob(v.ctx(), model, request)
	if err != nil {
		return check, nil // of another version of the model, maybe: the file says more
	}
	page.Request.Input, page.Recalled, page.Reread = request.Input, recalled, reread
	return again, nil
}

// fits tells whether a mapping is as it was remembered.
func fits(recalled, mapping map[string]string) bool {
	for feature, header := range recalled {
		if mapping[feature] != header {
			return false
		}
	}
	return true
}

func (p *checkPage) describe(request modelmanager.JobRequest, check modelmanager.JobCheck, parsed *spec.Spec, read bool) {
	times := slices.ContainsFunc(parsed.Features, func(f modelmanager.Field) bool { return f.Format == modelmanager.FormatDateTime })
	p.Dialect = dialectOf(request.Input, check, times)
	p.ReadAs = readAs(check.Input)
	for _, format := range []choice{{Value: "", Name: "As the file came"}, {Value: "csv", Name: "CSV"}, {Value: "xlsx", Name: "Excel"}, {Value: "parquet", Name: "Parquet"}, {Value: "jsonl", Name: "JSON Lines"}} {
		format.On = format.Value == request.Output.Format
		if !format.On && check.Complete && dataset.FitsFormat(format.Value, check.Rows) != nil {
			continue
		}
		p.Formats = append(p.Formats, format)
	}
	p.Doubtful = !read || check.Rejected == check.Rows
	if !read {
		return
	}
	p.describeColumns(check, parsed)
	features := map[string]string{}
	for feature, header := range check.Mapping {
		features[header] = feature
	}
	for _, header := range check.Headers {
		p.First.Headers = append(p.First.Headers, previewHeader{header, features[header]})
		if features[header] == "" && !p.isItem(header) {
			p.Through = append(p.Through, header)
		}
	}
	p.First.Rows = check.First
	if !check.Complete {
		p.Part = "of the first " + plural(check.Rows, "row")
	}
	for _, one := range check.Problems {
		row := problemRow{ColumnProblem: one, Header: check.Mapping[one.Column], More: one.Count - int64(len(one.Cells))}
		if row.Rows = "the whole file"; one.Count > 0 {
			row.Rows = strings.TrimSpace(plural(one.Count, "row") + " " + p.Part)
		}
		p.Problems = append(p.Problems, row)
	}
	p.Verdict = verdictOf(check)
	if p.NoLimit != "" {
		p.Verdict.Ready = false
	}
}

// isItem tells whether a column is one item of an array's.
func (p *checkPage) isItem(header string) bool {
	return slices.ContainsFunc(p.Columns, func(row columnRow) bool {
		return row.Items && strings.HasPrefix(header, row.Feature+".")
	})
}

func verdictOf(check modelmanager.JobCheck) verdict {
	missing := 0
	for _, one := range check.Problems {
		if one.Count > 0 {
			continue
		}
		if one.Code != modelmanager.CodeMissingColumn {
			return verdict{Class: "bad", Text: "This can't run yet.", More: sentence(one.Message)}
		}
		missing++
	}
	looked := "all " + plural(check.Rows, "row")
	if check.Rows == 1 {
		looked = "the only row"
	}
	rest := ""
	if !check.Complete {
		looked = "the first " + plural(check.Rows, "row")
		rest = "The rows after them are checked while the job runs, or now, if you like."
	}
	switch {
	case missing > 0:
		return verdict{Class: "bad", Text: fmt.Sprintf("This can't run yet: %s no column.", has(missing, "feature")),
			More: "Choose which column of the file it is, below, then check again."}
	case check.Rows == 0:
		return verdict{Class: "bad", Text: "The file has no rows below its header.", More: "There is nothing to predict. Choose another file, or correct below how this one is read."}
	case check.Rejected == 0:
		return verdict{Class: "good", Text: "Of " + looked + ", every one fits.", More: rest, Ready: true}
	case check.Rejected == check.Rows:
		return verdict{Class: "bad", Text: "None of " + looked + " fits.",
			More: "Most likely a column is matched wrongly, or the file is read wrongly. Correct it below, then check again.", Ready: true}
	}
	return verdict{Class: "warn", Text: fmt.Sprintf("%s of %s %s fit, and would be set aside.", count(check.Rejected), looked, doNot(check.Rejected)), More: rest, Ready: true}
}

func has(n int, thing string) string {
	if n == 1 {
		return "1 " + thing + " has"
	}
	return plural(n, thing) + " have"
}

func doNot(n int64) string {
	if n == 1 {
		return "doesn't"
	}
	return "don't"
}

// readAs says in a sentence how a file is read.
func readAs(in modelmanager.JobInput) string {
	var parts []string
	switch in.Format {
	case "csv":
		parts = append(parts, "CSV with "+separatorWord(in.Delimiter))
		if in.Encoding != "" {
			parts = append(parts, in.Encoding)
		}
		if in.Decimal != "" {
			parts = append(parts, "decimals like 1"+in.Decimal+"5")
		}
	case "xlsx":
		parts = append(parts, "Excel")
		if in.Sheet != "" {
			parts = append(parts, "sheet “"+in.Sheet+"”")
		}
	case "parquet":
		parts = append(parts, "Parquet")
	case "jsonl":
		parts = append(parts, "JSON Lines")
	}
	if in.Compression != "" && in.Compression != "none" {
		parts = append(parts, "compressed with "+in.Compression)
	}
	if in.HeaderRow > 0 && (in.Format == "csv" || in.Format == "xlsx") {
		parts = append(parts, fmt.Sprintf("names in row %d", in.HeaderRow))
	}
	if in.Dates != "" && in.Dates != isoDates {
		parts = append(parts, "dates like "+in.Dates)
	}
	if text := nullText(in.Null); text != "" {
		parts = append(parts, "empty: "+text)
	}
	return strings.Join(parts, ", ")
}

func separatorWord(delimiter string) string {
	switch delimiter {
	case ",":
		return "commas"
	case ";":
		return "semicolons"
	case "tab":
		return "tabs"
	case "|":
		return "bars"
	}
	return "“" + delimiter + "”"
}
