package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

func (w *Web) mountModel() {
	w.get("/models", func(v *visit) error {
		http.Redirect(v.w, v.r, "/", http.StatusMovedPermanently)
		return nil
	})
	w.get("/models/{model}", (*visit).model)
}

// modelHead is what every page of a model has at its top.
type modelHead struct {
	modelmanager.ModelInfo
	Spec *spec.Spec // of the version that stands for the model; never nil
	Tags []tag
	Why  string // its health, in a sentence
	Now  string // which tab is shown
}

// RealTime tells whether the model answers single questions.
func (m modelHead) RealTime() bool { return slices.Contains(m.Serve, modelmanager.RealTime) }

// Batch tells whether the model takes whole files.
func (m modelHead) Batch() bool { return slices.Contains(m.Serve, modelmanager.Batch) }

// Answers says which versions answer: "version 3", "version 2 (90 %) and version 3 (10 %)".
func (m modelHead) Answers() string { return trafficWords(m.Traffic.Now()) }

// Wanted says which versions shall answer, where others do until they are ready; "": none.
func (m modelHead) Wanted() string {
	if m.Traffic.Pending == nil {
		return ""
	}
	return trafficWords(m.Traffic.Traffic)
}

// Troubled is the version whose log says why the model isn't well.
func (m modelHead) Troubled() int {
	now := m.Traffic.Now()
	for _, share := range m.Traffic.Versions {
		if share.Percent > 0 && !slices.ContainsFunc(now.Versions, func(s modelmanager.Share) bool { return s.Version == share.Version }) {
			return share.Version // it can't start
		}
	}
	return now.Largest()
}

// WantedVerb is that of Wanted.
func (m modelHead) WantedVerb() string { return answerVerb(m.Traffic.Traffic) }

// Verb is that of Answers.
func (m modelHead) Verb() string { return answerVerb(m.Traffic.Now()) }

// answerVerb is the verb of trafficWords.
func answerVerb(traffic modelmanager.Traffic) string {
	if len(sharesWords(traffic)) > 1 {
		return "answer"
	}
	return "answers"
}

// readModel asks for the model that the path names.
func (v *visit) readModel(tab string) (modelHead, error) {
	wait, _ := v.patience()
	info, err := v.api().ModelWithin(v.ctx(), wait, v.r.PathValue("model"))
	if err != nil {
		return modelHead{}, err
	}
	head := modelHead{ModelInfo: info, Spec: new(spec.Spec), Tags: catalogued(info).Tags, Why: whyHealth(info.Health), Now: tab}
	if len(info.Spec) > 0 {
		if head.Spec, err = spec.FromCanonical(string(info.Spec)); err != nil {
			return modelHead{}, err
		}
	}
	return head, nil
}

// whyHealth says in a sentence how a model does.
func whyHealth(health modelmanager.Health) string {
	reason := sentence(health.Reason)
	switch health.State {
	case modelmanager.Healthy:
		return strings.TrimSpace("It is running, and answers at once. " + reason)
	case modelmanager.Idle:
		return "It is asleep, and runs no process. The first question wakes it, which can take a few seconds."
	case modelmanager.Starting:
		return strings.TrimSpace("It is starting. " + reason)
	case modelmanager.Degraded:
		return strings.TrimSpace("Something is wrong with it. " + reason)
	case modelmanager.Unhealthy:
		return strings.TrimSpace("It can't answer. " + reason)
	}
	return strings.TrimSpace("Its state isn't known now. " + reason)
}

// plainWord begins with what is no name: nobody is called ann@example.org, and no
// model iris-2, with a capital.
var plainWord = regexp.MustCompile(`^[a-z][A-Za-z’']*[,:;.!?]?(\s|$)`)

// sentence makes a sentence of a reason.
func sentence(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	if plainWord.MatchString(text) {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	if !strings.ContainsAny(text[len(text)-1:], ".!?") {
		text += "."
	}
	return text
}

// sharesWords says which versions answer.
func sharesWords(traffic modelmanager.Traffic) []string {
	var parts []string
	for _, share := range traffic.Versions {
		switch {
		case share.Percent == 0:
		case share.Percent == 100:
			parts = append(parts, fmt.Sprintf("version %d", share.Version))
		default:
			parts = append(parts, fmt.Sprintf("version %d (%d %%)", share.Version, share.Percent))
		}
	}
	return parts
}

// trafficWords says which versions answer, and which is the shadow.
func trafficWords(traffic modelmanager.Traffic) string {
	text := listed(sharesWords(traffic), "and")
	if text == "" {
		return "no version"
	}
	if traffic.Shadow != 0 {
		text += fmt.Sprintf(", with version %d as its shadow", traffic.Shadow)
	}
	return text
}

// listed joins words: "a", "a and b", "a, b and c".
func listed(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " " + last + " " + words[len(words)-1]
}

// modelPage is the overview of a model.
type modelPage struct {
	modelHead
	Features    []fieldRow
	Predictions []fieldRow
	Examples    []exampleRow
	Training    []pair
	Live        hourPart
	Card        card
}

// exampleRow is an example of the spec, with a link that tries it.
type exampleRow struct {
	Name string
	Try  string
	Says string // what was expected: "species: setosa"
}

func (v *visit) model() error {
	head, err := v.readModel("overview")
	if err != nil {
		return err
	}
	page := modelPage{
		modelHead: head, Features: fieldRows(head.Spec.Features, head.Spec.Examples), Predictions: fieldRows(head.Spec.Predictions, nil),
		Training: flatten("", head.Spec.Training), Examples: exampleRows(head.Name, head.Spec),
	}
	page.Live = v.lastHour(head.Name)
	if page.Card, err = v.card(head); err != nil {
		return err
	}
	return v.page("model", "models", head.Name, page)
}

func exampleRows(model string, s *spec.Spec) []exampleRow {
	var rows []exampleRow
	for i, example := range s.Examples {
		row := exampleRow{Name: exampleName(example, i), Try: pathOf("models", model, "try") + "?example=" + strconv.Itoa(i+1)}
		var says []string
		for _, field := range s.Predictions {
			if value, ok := example.Predictions[field.Name]; ok {
				says = append(says, field.Name+": "+withUnit(valueText(value), field.Unit))
			}
		}
		row.Says = strings.Join(says, ", ")
		rows = append(rows, row)
	}
	return rows
}

func exampleName(example spec.Example, index int) string {
	if example.Name != "" {
		return example.Name
	}
	return fmt.Sprintf("Example %d", index+1)
}

func withUnit(text, unit string) string {
	if unit == "" {
		return text
	}
	return text + " " + unit
}

// flatten lists the values of an object, each under the way to it.
func flatten(prefix string, values map[string]any) []pair {
	var pairs []pair
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if inner, ok := values[name].(map[string]any); ok {
			under := prefix + name + " "
			if name == "metrics" { // which says nothing beside the metric's name
				under = prefix
			}
			pairs = append(pairs, flatten(under, inner)...)
			continue
		}
		pairs = append(pairs, pair{strings.ReplaceAll(prefix+name, "_", " "), anyText(values[name])})
	}
	return pairs
}

// anyText writes a value out of a JSON document.
func anyText(value any) string {
	switch value := value.(type) {
	case nil:
		return "—"
	case string:
		return value
	case bool:
		return yesNo(value)
	case float64:
		return number(value)
	}
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(data)
}

func yesNo(value bool) string {
	if value {
		return "yes"
	}
	return "no"
}
