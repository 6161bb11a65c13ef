package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/web/chart"
	"modelmanager.dev/internal/wording"
)

func (w *Web) mountTry() {
	w.get("/models/{model}/try", (*visit).showTry)
	w.post("/models/{model}/try", (*visit).try)
}

// How long a question waits for a model that sleeps: a page whole, or, where
// htmx asks again and shows how far it is, a moment.
const (
	waitWhole  = 60 * time.Second
	waitMoment = 2 * time.Second
	waitMost   = 10 * time.Minute // then htmx asks no more
)

// tryPage is the form that asks a model, and its answer.
type tryPage struct {
	modelHead
	Asked   *spec.Spec // of the version that is asked
	Version int        // 0: as the traffic says
	Numbers numbers
	Inputs  []input
	Samples []sampleLink

	Answer  *answerPart
	Problem *errorPage
	Waiting *waiting
	Code    []codeBlock
}

// sampleLink fills the form with an example.
type sampleLink struct {
	Name, Href string
	Chosen     bool
}

// waiting says that a model is on its way.
type waiting struct {
	Stage string
	Since int64 // seconds since 1970
	Turn  int64 // of the asking: each is another one
	For   string
}

// answerPart is a model's answer, in words and numbers.
type answerPart struct {
	Version int
	Took    string
	Says    string // all of it, in a sentence
	Values  []answerValue
}

type answerValue struct {
	modelmanager.Field
	Text  string
	Share string // of a number between 0 and 1: "63 %"
	Meter float64
	Chart template.HTML
}

// tryFor reads what the form needs: the model, and the spec of the version
// that would be asked.
func (v *visit) tryFor(version string) (*tryPage, error) {
	head, err := v.readModel("try")
	if err != nil {
		return nil, err
	}
	page := &tryPage{modelHead: head, Asked: head.Spec}
	if version != "" && version != "0" {
		if page.Version, err = versionNumber(version); err != nil {
			return nil, err
		}
		if page.Asked, err = v.specOf(head.Name, page.Version); err != nil {
			return nil, err
		}
	}
	if page.Numbers, err = v.numbers(head.ModelInfo); err != nil {
		return nil, err
	}
	page.Inputs = newInputs(page.Asked.Features)
	for i, example := range page.Asked.Examples {
		query := url.Values{"example": {strconv.Itoa(i + 1)}}
		if page.Version != 0 {
			query.Set("version", strconv.Itoa(page.Version))
		}
		page.Samples = append(page.Samples, sampleLink{Name: exampleName(example, i), Href: pathOf("models", head.Name, "try") + "?" + query.Encode()})
	}
	return page, nil
}

func (v *visit) showTry() error {
	page, err := v.tryFor(v.query("version"))
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(v.query("example")); err == nil && n >= 1 && n <= len(page.Samples) {
		page.Samples[n-1].Chosen = true
		for i := range page.Inputs {
			if value, ok := page.Asked.Examples[n-1].Features[page.Inputs[i].Name]; ok {
				page.Inputs[i].fill(value)
			}
		}
		page.Code = v.codeFor(page, exampleRowJSON(page.Asked, n-1))
	} else if len(page.Asked.Examples) > 0 {
		page.Code = v.codeFor(page, exampleRowJSON(page.Asked, 0))
	}
	return v.page("try", "models", "Try "+page.Name, page)
}

// exampleRowJSON is an example as the row of a call, in the features' order.
func exampleRowJSON(s *spec.Spec, example int) json.RawMessage {
	return rowJSON(s.Features, func(i int) json.RawMessage { return s.Examples[example].Features[s.Features[i].Name] })
}

// rowJSON writes a row; a value that is nil is left out.
func rowJSON(features []modelmanager.Field, value func(i int) json.RawMessage) json.RawMessage {
	var b strings.Builder
	b.WriteByte('{')
	for i, feature := range features {
		data := value(i)
		if data == nil {
			continue
		}
		if b.Len() > 1 {
			b.WriteString(", ")
		}
		b.Write(encoded(feature.Name))
		b.WriteString(": ")
		b.Write(data)
	}
	b.WriteByte('}')
	return json.RawMessage(b.String())
}

// try asks the model. Nothing is changed, so the answer stands on the page that
// was posted; what somebody asks is in no address, and in nobody's history.
func (v *visit) try() error {
	page, err := v.tryFor(v.r.PostFormValue("version"))
	if err != nil {
		return err
	}
	row := rowJSON(page.Asked.Features, func(i int) json.RawMessage { return page.Inputs[i].read(v.r.PostForm) })
	page.Code = v.codeFor(page, row)
	wait := waitWhole
	if v.wantsPart() {
		wait = waitMoment
	}
	began := time.Now()
	response, err := v.api().PredictWithin(v.ctx(), wait, page.Name, page.Version, modelmanager.PredictRequest{Rows: []json.RawMessage{row}})
	status := http.StatusOK
	switch {
	case err == nil:
		err = v.answer(page, response, time.Since(began))
	case v.r.Context().Err() != nil:
		return err
	case v.wantsPart() && stillStarting(err) && v.keepWaiting(page, err):
		err = nil
	default:
		status, err = page.refused(err)
	}
	if err != nil {
		return err
	}
	if v.wantsPart() {
		return v.part("try", "try", page) // htmx shows it as it is, whatever happened
	}
	return v.pageStatus(status, "try", "models", "Try "+page.Name, page)
}

// stillStarting tells whether asking again may soon bring an answer.
func stillStarting(err error) bool {
	code := modelmanager.CodeOf(err)
	return code == modelmanager.CodeUnavailable || code == modelmanager.CodeDeadlineExceeded
}

// keepWaiting says how far the model is; htmx then asks again.
func (v *visit) keepWaiting(page *tryPage, err error) bool {
	now := time.Now()
	since, parsed := strconv.ParseInt(v.r.PostFormValue("since"), 10, 64)
	if parsed != nil || since > now.Unix() || since <= 0 {
		since = now.Add(-waitMoment).Unix()
	}
	waited := now.Sub(time.Unix(since, 0))
	if waited > waitMost || page.Health.State == modelmanager.Unhealthy {
		return false
	}
	stage := sentence(problem.Of(err).Detail)
	if info, err := v.api().ModelWithin(v.ctx(), waitAtFirst, page.Name); err == nil {
		page.Health, page.Why = info.Health, whyHealth(info.Health)
		if page.Version == 0 && info.Health.State == modelmanager.Starting && info.Health.Reason != "" {
			stage = sentence(info.Health.Reason)
		}
	}
	page.Waiting = &waiting{Stage: stage, Since: since, Turn: now.UnixNano(), For: plural(int64(math.Round(waited.Seconds())), "second")}
	return true
}

// refused puts what is wrong beside the fields that it is about; the rest
// stands above the form.
func (p *tryPage) refused(err error) (int, error) {
	described := problem.Of(err)
	if described.Code == modelmanager.CodeUnauthenticated {
		return 0, err
	}
	var coded *modelmanager.Error
	left := 0
	if errors.As(err, &coded) && described.Code == modelmanager.CodeInvalidRows {
		for _, row := range coded.Rows {
			if !p.complain(row) {
				left++
			}
		}
		if left == 0 && len(coded.Rows) > 0 {
			described.Errors = nil
			described.Title = "Something in the form isn’t right"
			described.Detail = "See what is said beside " + plural(len(coded.Rows), "field") + "."
		}
	}
	if title := described.Title + ": "; len(described.Detail) > len(title) && strings.EqualFold(described.Detail[:len(title)], title) {
		described.Detail = described.Detail[len(title):] // it stands above already
	}
	p.Problem = &errorPage{Problem: described, Advice: advice[described.Code], RetryAfter: problem.RetryAfter(err)}
	return described.Status, nil
}

// complain puts a problem beside its field, and tells whether it has one.
func (p *tryPage) complain(row modelmanager.RowError) bool {
	name := row.Feature
	if at := strings.IndexAny(name, "[."); at > 0 {
		name = name[:at]
	}
	for i := range p.Inputs {
		if p.Inputs[i].Name == name || p.Inputs[i].Name == row.Feature {
			p.Inputs[i].Problems = append(p.Inputs[i].Problems, p.Inputs[i].complaint(row.Message))
			return true
		}
	}
	return false
}

// complaint says what is wrong with a field to somebody who fills in a form: what
// the API calls a missing feature or a string is an empty field or no number there.
func (in input) complaint(message string) string {
	switch in.Control {
	case "select":
		if in.Value == "" {
			return "Choose one."
		}
	case "date", "datetime":
		if in.Value == "" {
			return "Fill this in."
		}
	case "number":
		if in.Value == "" {
			return "Fill this in."
		}
		typed := "“" + wording.Shorten(in.Value, 40) + "”"
		if sent := in.scalar(in.Value); sent[0] != '"' {
			if _, err := strconv.ParseFloat(string(sent), 64); err != nil {
				return typed + " is too large a number."
			}
			break
		}
		no := typed + " is not a number."
		if strings.Contains(in.Value, ",") {
			no += " Write decimals with a point, 1.5, and thousands without a mark."
		}
		return no
	}
	return sentence(message)
}

// Wrong tells whether something is wrong with a field.
func (in input) Wrong() bool { return len(in.Problems) > 0 }

// answer describes what the model said.
func (v *visit) answer(page *tryPage, response modelmanager.PredictResponse, took time.Duration) error {
	if len(response.Predictions) != 1 {
		return modelmanager.Errorf(modelmanager.CodeInvalidPredictions, "%s answered one question with %d predictions", page.Name, len(response.Predictions))
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(response.Predictions[0], &values); err != nil {
		return fmt.Errorf("reading a prediction of %s: %w", page.Name, err)
	}
	fields := page.Asked.Predictions
	if page.Version == 0 && response.Version != page.Traffic.Now().Largest() { // a canary answered
		if other, err := v.specOf(page.Name, response.Version); err == nil {
			fields = other.Predictions
		}
	}
	part := &answerPart{Version: response.Version, Took: tookWords(took), Says: page.Name + " answers: " + answerWords(values, fields) + "."}
	for _, field := range fields {
		if value, ok := values[field.Name]; ok {
			part.Values = append(part.Values, describeAnswer(field, value))
		}
	}
	page.Answer = part
	if page.Health.State != modelmanager.Healthy { // the question may have woken it
		if now, err := v.api().ModelWithin(v.ctx(), waitAtFirst, page.Name); err == nil {
			page.Health = now.Health
			page.Why = whyHealth(now.Health)
		}
	}
	return nil
}

func tookWords(took time.Duration) string {
	if took < time.Second {
		return plural(max(1, took.Milliseconds()), "millisecond")
	}
	return strconv.FormatFloat(took.Seconds(), 'f', 1, 64) + " seconds"
}

// describeAnswer writes one prediction for people.
func describeAnswer(field modelmanager.Field, value json.RawMessage) answerValue {
	a := answerValue{Field: field, Text: shortValue(value), Meter: math.NaN()}
	isShare := func(f modelmanager.Field) bool {
		return f.Type == modelmanager.Number && f.Minimum != nil && *f.Minimum == 0 && f.Maximum != nil && *f.Maximum == 1
	}
	if x := numberIn(value); isShare(field) && !math.IsNaN(x) {
		a.Share, a.Meter = percentWords(x), x
		return a
	}
	items := numericItems(field)
	if field.Type != modelmanager.Array || len(items) == 0 || field.Length == nil || *field.Length > 40 {
		return a
	}
	drawing := chart.Bars{Title: field.Name, Description: field.Description}
	best := 0
	for i, item := range items {
		x := item.of(value)
		bar := chart.Bar{Name: strings.TrimPrefix(item.name, field.Name+" "), Value: x, Text: number(x)}
		if field.Items != nil && isShare(*field.Items) {
			bar.Text, drawing.High = percentWords(x), 1
		}
		drawing.Bars = append(drawing.Bars, bar)
		if x > drawing.Bars[best].Value {
			best = i
		}
	}
	drawing.Marked = best + 1
	a.Chart = drawing.HTML()
	return a
}

// percentWords writes a share.
func percentWords(x float64) string {
	if math.IsNaN(x) {
		return "—"
	}
	percent := x * 100
	switch {
	case x > 0 && percent < 0.1:
		return "under 0.1 %"
	case x < 1 && percent > 99.9:
		return "over 99.9 %"
	case percent < 10 || percent > 90:
		return strconv.FormatFloat(math.Round(percent*10)/10, 'f', -1, 64) + " %"
	}
	return strconv.FormatFloat(percent, 'f', 0, 64) + " %"
}
