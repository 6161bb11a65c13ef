package pipeline

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// The elements of JUnit's XML, as far as GitHub's, GitLab's and Jenkins' viewers
// know them.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		File     string      `xml:"file,attr,omitempty"`
		Cases    []junitCase `xml:"testcase"`
		Output   string      `xml:"system-out,omitempty"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr,omitempty"`
		Line    int           `xml:"line,attr,omitempty"`
		Time    string        `xml:"time,attr"`
		Failure *junitFailure `xml:"failure"`
		Skipped *junitSkipped `xml:"skipped"`
		Output  string        `xml:"system-out,omitempty"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
)

// WriteJUnit writes the review as the results of tests: a suite for each model,
// a test for each check and each example. Warnings are a test's output, since
// JUnit knows none.
func (r *Review) WriteJUnit(w io.Writer) error {
	suites := junitSuites{Name: "mm validate", Time: junitTime(r.Took)}
	for _, report := range r.Models {
		suite := report.junit()
		suites.Tests += suite.Tests
		suites.Failures += suite.Failures
		suites.Skipped += suite.Skipped
		suites.Suites = append(suites.Suites, suite)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suites); err != nil {
		return fmt.Errorf("writing the report as JUnit's XML: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitTime(d spec.Duration) string { return fmt.Sprintf("%.3f", time.Duration(d).Seconds()) }

// stage is what must have been done for a check to say anything.
type stage int

const (
	always stage = iota
	loaded
	compared
	run
	sampled
)

// junitChecks are the tests that every model has, with the codes of their
// findings; the last takes all others.
var junitChecks = []struct {
	name  string
	when  stage
	codes []modelmanager.Code
}{
	{"model.yaml", always, []modelmanager.Code{modelmanager.CodeInvalidSpec, FoundAdvice}},
	{"its name is its own", loaded, []modelmanager.Code{modelmanager.CodeNameTaken}},
	{"its callers go on working", compared, []modelmanager.Code{FoundBreaking, FoundIncomparable}},
	{"its files", loaded, []modelmanager.Code{FoundPointer, FoundLarge}},
	{"no secrets", loaded, []modelmanager.Code{FoundSecret}},
	{"its requirements", loaded, []modelmanager.Code{FoundUnpinned}},
	{"each row by itself", run, []modelmanager.Code{modelmanager.CodeRowDependent}},
	{"it stays within its limits", run, []modelmanager.Code{FoundSlowStart, FoundMemory}},
	{"its sample", sampled, []modelmanager.Code{FoundSample}},
	{"it runs", run, nil},
}

// unchecked says why a stage wasn't reached; "" if it was.
func (r *Report) unchecked(s stage) string {
	switch {
	case s == always:
		return ""
	case !r.loaded:
		return "model.yaml can't be read"
	case s == compared && len(r.Live) == 0:
		return "no server was named to compare with"
	case s >= run && r.Skipped != "":
		return r.Skipped
	case s >= run && len(r.Examples) == 0:
		return "its examples were not run"
	case s == sampled && !slices.ContainsFunc(r.Live, func(c Comparison) bool { return c.sampled() }):
		return "predictions were not compared on a sample"
	}
	return ""
}

func (c *Comparison) sampled() bool {
	return slices.ContainsFunc(c.Shifts, func(s Shift) bool { return s.Of == "sample" })
}

func (r *Report) junit() junitSuite {
	name := oneLine(r.name(), 200)
	suite := junitSuite{Name: name, Time: junitTime(r.Took), File: r.Folder}
	left := r.Findings
	for _, check := range junitChecks {
		var own, others []Finding
		for _, f := range left {
			switch {
			case check.codes == nil && f.Code != FoundWrong, slices.Contains(check.codes, f.Code):
				own = append(own, f)
			default:
				others = append(others, f)
			}
		}
		left = others
		c := junitCase{Name: check.name, Class: name, Time: "0.000"}
		if reason := r.unchecked(check.when); reason != "" {
			c.Skipped = &junitSkipped{Message: oneLine(reason, 500)}
		}
		if check.codes == nil {
			c.Time = junitTime(r.Start)
			if len(r.Output) > 0 {
				c.Output = "its last output:\n" + plain(strings.Join(r.Output, "\n")) + "\n"
			}
		}
		c.take(own)
		suite.add(c)
	}
	for i, example := range r.Examples {
		c := junitCase{Name: "example " + oneLine(example.Name, 200), Class: name, Time: "0.000"}
		if example.Problem == "" {
			c.Output = string(example.Predictions)
		} else if i := wrongAt(left, i, r.Examples); i >= 0 {
			c.take(left[i : i+1])
		} else {
			c.Failure = &junitFailure{Message: oneLine(example.Problem, 500), Type: string(FoundWrong), Text: plain(example.Problem)}
		}
		suite.add(c)
	}
	suite.Output = r.junitShift()
	return suite
}

// wrongAt finds the finding of the i-th example among those of wrong examples,
// which are in the examples' order.
func wrongAt(findings []Finding, i int, examples []ExampleResult) int {
	at := 0
	for _, example := range examples[:i] {
		if example.Problem != "" {
			at++
		}
	}
	if at < len(findings) {
		return at
	}
	return -1
}

// take makes a test fail for errors, and write warnings.
func (c *junitCase) take(findings []Finding) {
	for _, f := range findings {
		text := f.place()
		if text != "" {
			text += ": "
		}
		text += strings.TrimSpace(plain(f.Message)) + "\n"
		if f.Snippet != "" {
			text += plain(f.Snippet) + "\n"
		}
		if f.Suggestion != "" {
			text += "→ " + f.Suggestion + "\n"
		}
		if f.Severity != SeverityError {
			c.Output += "warning: " + text
			continue
		}
		if c.Failure == nil {
			c.Failure = &junitFailure{Message: oneLine(f.Message, 500), Type: string(f.Code)}
			c.File, c.Line, c.Skipped = f.File, f.Line, nil
		}
		c.Failure.Text += text
	}
}

func (s *junitSuite) add(c junitCase) {
	s.Tests++
	if c.Failure != nil {
		s.Failures++
	} else if c.Skipped != nil {
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

// junitShift tells in lines how predictions have moved.
func (r *Report) junitShift() string {
	var b strings.Builder
	for _, live := range r.Live {
		for _, shift := range live.Shifts {
			for _, p := range shift.Predictions {
				fmt.Fprintf(&b, "beside version %d, on %s: %s: %s\n", live.Version, shift.rowsText(), p.Name, p.Sentence())
			}
		}
		if live.Problem != "" {
			fmt.Fprintf(&b, "predictions were not compared: %s\n", oneLine(live.Problem, 500))
		}
	}
	return b.String()
}
