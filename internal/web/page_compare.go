package web

import (
	"fmt"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

func (w *Web) mountCompare() {
	w.get("/models/{model}/compare", (*visit).compare)
}

// comparePage compares two versions.
type comparePage struct {
	modelHead
	Numbers  numbers
	From, To int
	Changes  spec.Changes
	Fields   []fieldPair
	Metrics  []metricPair
	SameCode bool
	Ask      string // the address that asks both for predictions of the examples
	Shift    *shift // nil: not asked
}

// FromTo are both versions.
func (p comparePage) FromTo() []int { return []int{p.From, p.To} }

// Breaking tells whether callers may have to change something.
func (p comparePage) Breaking() bool { return p.Changes.Breaking() }

// fieldPair is a feature or a prediction in both versions.
type fieldPair struct {
	Name, From, To string
	Differs        bool
}

type metricPair struct{ Name, From, To, Change string }

func (v *visit) compare() error {
	head, err := v.readModel("versions")
	if err != nil {
		return err
	}
	page := comparePage{modelHead: head}
	if page.Numbers, err = v.numbers(head.ModelInfo); err != nil {
		return err
	}
	if err := v.chooseVersions(&page); err != nil {
		return err
	}
	if page.From == 0 {
		return v.page("compare", "models", "Compare versions of "+head.Name, page)
	}
	here := fmt.Sprintf("%s?from=%d&to=%d", pathOf("models", head.Name, "compare"), page.From, page.To)
	page.Ask = here + "&predictions=1"
	if v.query("predictions") != "" {
		diff, err := v.api().Diff(v.ctx(), head.Name, page.From, page.To)
		if err != nil {
			return err
		}
		from, err := v.specOf(head.Name, page.From)
		if err != nil {
			return err
		}
		to, err := v.specOf(head.Name, page.To)
		if err != nil {
			return err
		}
		page.Shift = newShift(diff, from, to)
		if v.wantsPart() {
			return v.part("compare", "shift", page)
		}
	}
	if err := v.compareSpecs(&page); err != nil {
		return err
	}
	return v.page("compare", "models", fmt.Sprintf("%s, version %d and %d", head.Name, page.From, page.To), page)
}

// chooseVersions takes the versions that were asked for; by default the newest,
// and the one before it.
func (v *visit) chooseVersions(page *comparePage) error {
	from, to := v.query("from"), v.query("to")
	newest, err := v.api().Versions(v.ctx(), page.Name, 2, "")
	if err != nil {
		return err
	}
	if len(newest.Versions) == 2 {
		page.From, page.To = newest.Versions[1].Version, newest.Versions[0].Version
	} else if from == "" && to == "" {
		return nil
	}
	for _, asked := range []struct {
		text string
		into *int
	}{{from, &page.From}, {to, &page.To}} {
		if asked.text == "" {
			continue
		}
		if *asked.into, err = versionNumber(asked.text); err != nil {
			return err
		}
	}
	return nil
}

func (v *visit) specOf(model string, number int) (*spec.Spec, error) {
	info, err := v.api().Version(v.ctx(), model, number)
	if err != nil {
		return nil, err
	}
	return spec.FromCanonical(string(info.Spec))
}

// compareSpecs fills in what differs between what two versions declare.
func (v *visit) compareSpecs(page *comparePage) error {
	var infos [2]modelmanager.VersionInfo
	var specs [2]*spec.Spec
	for i, number := range []int{page.From, page.To} {
		var err error
		if infos[i], err = v.api().Version(v.ctx(), page.Name, number); err != nil {
			return err
		}
		if specs[i], err = spec.FromCanonical(string(infos[i].Spec)); err != nil {
			return err
		}
	}
	page.SameCode = infos[0].Artifact.Digest == infos[1].Artifact.Digest
	page.Changes = spec.Diff(specs[0], specs[1])
	page.Fields = append(fieldPairs(specs[0].Features, specs[1].Features), fieldPairs(specs[0].Predictions, specs[1].Predictions)...)
	page.Metrics = metricPairs(specs[0].Training, specs[1].Training)
	return nil
}

func fieldPairs(from, to []modelmanager.Field) []fieldPair {
	words := func(field modelmanager.Field) string {
		text := kindWords(field)
		if field.Unit != "" {
			text += " in " + field.Unit
		}
		if allowed := allowedWords(field); allowed != "" {
			text += ": " + allowed
		}
		return text
	}
	var pairs []fieldPair
	for _, field := range to {
		pair := fieldPair{Name: field.Name, To: words(field), From: "—"}
		if i := slices.IndexFunc(from, func(f modelmanager.Field) bool { return f.Name == field.Name }); i >= 0 {
			pair.From = words(from[i])
		}
		pair.Differs = pair.From != pair.To
		pairs = append(pairs, pair)
	}
	for _, field := range from {
		if !slices.ContainsFunc(to, func(f modelmanager.Field) bool { return f.Name == field.Name }) {
			pairs = append(pairs, fieldPair{Name: field.Name, From: words(field), To: "—", Differs: true})
		}
	}
	return pairs
}

func metricPairs(from, to map[string]any) []metricPair {
	before, after := flatten("", from), flatten("", to)
	numbers := func(values map[string]any) map[string]float64 {
		all := map[string]float64{}
		var walk func(prefix string, values map[string]any)
		walk = func(prefix string, values map[string]any) {
			for name, value := range values {
				switch value := value.(type) {
				case map[string]any:
					if name == "metrics" {
						walk(prefix, value)
					} else {
						walk(prefix+name+" ", value)
					}
				case float64:
					all[prefix+name] = value
				}
			}
		}
		walk("", values)
		return all
	}
	was, is := numbers(from), numbers(to)
	var pairs []metricPair
	for _, entry := range after {
		row := metricPair{Name: entry.Name, To: entry.Value, From: "—"}
		if i := slices.IndexFunc(before, func(p pair) bool { return p.Name == entry.Name }); i >= 0 {
			row.From = before[i].Value
		}
		pairs = append(pairs, row)
	}
	for _, entry := range before {
		if !slices.ContainsFunc(after, func(p pair) bool { return p.Name == entry.Name }) {
			pairs = append(pairs, metricPair{Name: entry.Name, From: entry.Value, To: "—"})
		}
	}
	for name, now := range is {
		if then, ok := was[name]; ok && then != now {
			for i := range pairs {
				if pairs[i].Name == strings.ReplaceAll(name, "_", " ") {
					pairs[i].Change = fmt.Sprintf("%+.4g", now-then)
				}
			}
		}
	}
	return pairs
}
