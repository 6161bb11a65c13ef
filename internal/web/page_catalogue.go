package web

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/client"
)

func (w *Web) mountCatalogue() { w.get("/{$}", (*visit).catalogue) }

// catalogueItems is how many models a page of the catalogue has.
const catalogueItems = 50

// catalogueFacets is how many owners, and labels, the catalogue offers.
const catalogueFacets = 12

// cataloguePage is what the catalogue shows.
type cataloguePage struct {
	Query    client.ModelQuery
	Serves   []choice
	Healths  []choice
	Unknown  []string // what the address asks for and no field offers, in sentences
	Hidden   []pair   // what the search form keeps of the address
	Chips    []filter
	Owners   []facet // to choose from
	Labels   []facet
	Models   []catalogueModel
	Shown    string
	Narrowed bool   // by a search or a filter
	First    string // addresses; "": there is none
	Next     string

	Incomplete bool // other servers' calls haven't been waited for
}

// facet is an owner or a label that the list can be narrowed to.
type facet struct {
	Text   string
	Models int
	Href   string
}

type pair struct{ Name, Value string }

// filter is a filter in force, and the address without it.
type filter struct {
	pair
	Without string
}

// tag is a label, and the address of all that have it.
type tag struct {
	pair
	Href string
}

type catalogueModel struct {
	modelmanager.ModelInfo
	ByOwner string // the address of all of this owner's
	Tags    []tag
	Use     string // calls lately, in words
}

func (v *visit) catalogue() error {
	address := v.r.URL.Query()
	var page cataloguePage
	page.Serves = []choice{{Name: "Every model"}, {Value: string(modelmanager.RealTime), Name: "Single questions"}, {Value: string(modelmanager.Batch), Name: "Whole files"}}
	page.Healths = []choice{{Name: "Any state"}}
	for _, state := range []modelmanager.HealthState{modelmanager.Healthy, modelmanager.Idle, modelmanager.Starting, modelmanager.Degraded, modelmanager.Unhealthy} {
		page.Healths = append(page.Healths, choice{Value: string(state), Name: healthWord(state)})
	}
	query := client.ModelQuery{
		Text: strings.TrimSpace(address.Get("q")), Owner: address.Get("owner"),
		Serve:  modelmanager.Mode(choose(page.Serves, address.Get("serve"), "Answers", &page.Unknown)),
		Health: modelmanager.HealthState(choose(page.Healths, address.Get("health"), "State", &page.Unknown)),
		Labels: map[string]string{}, Limit: catalogueItems, PageToken: address.Get("page"), Count: catalogueFacets,
	}
	for _, label := range address["label"] {
		if name, value, found := strings.Cut(label, "="); found {
			query.Labels[name] = value
		}
	}
	use := v.use()
	list, err := v.api().Models(v.ctx(), query)
	if err != nil {
		return err
	}
	calls, span, complete := use()
	page.Query, page.Incomplete = query, !complete
	page.Narrowed = query.Text != "" || query.Owner != "" || query.Serve != "" || query.Health != "" || len(query.Labels) > 0
	page.describeFilters()
	page.offer(list.Counts)
	if query.PageToken != "" {
		page.First = catalogueAddress(query, "")
	}
	if list.NextPageToken != "" {
		page.Next = catalogueAddress(query, list.NextPageToken)
	}
	page.Shown = plural(len(list.Models), "model")
	if list.Counts != nil {
		page.Shown = plural(list.Counts.Models, "model")
		if list.Counts.Models > len(list.Models) {
			page.Shown += ", " + count(len(list.Models)) + " on this page"
		}
	}
	for _, model := range list.Models {
		row := catalogued(model)
		if n := calls[model.Name]; n > 0 {
			row.Use = plural(n, "call") + " " + span
		}
		page.Models = append(page.Models, row)
	}
	if v.wantsPart() {
		return v.part("catalogue", "results", page)
	}
	return v.page("catalogue", "models", "Models", page)
}

// offer lists the owners and labels that narrow what was found.
func (p *cataloguePage) offer(counts *modelmanager.ModelCounts) {
	if counts == nil {
		return
	}
	narrows := func(models int) bool { return models < counts.Models }
	for _, owner := range counts.Owners {
		if p.Query.Owner == "" && narrows(owner.Models) {
			with := p.Query
			with.Owner = owner.Owner
			p.Owners = append(p.Owners, facet{owner.Owner, owner.Models, catalogueAddress(with, "")})
		}
	}
	for _, label := range counts.Labels {
		if _, chosen := p.Query.Labels[label.Name]; !chosen && narrows(label.Models) {
			with := p.Query
			with.Labels = maps.Clone(p.Query.Labels)
			with.Labels[label.Name] = label.Value
			p.Labels = append(p.Labels, facet{label.Name + ": " + label.Value, label.Models, catalogueAddress(with, "")})
		}
	}
}

// use asks for the calls of all models in the last five minutes, beside what
// else is asked; they can't be known to those who may not. span says of which
// time they are, and complete whether other servers were waited for.
func (v *visit) use() func() (calls map[string]int64, span string, complete bool) {
	wait, full := v.patience()
	span, complete := "in 5 minutes", true
	calls := map[string]int64{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		activity, err := v.api().ActivityWithin(v.ctx(), wait)
		if err != nil {
			return
		}
		for _, version := range activity.Versions {
			calls[version.Model] += version.Calls
		}
		if since := lately(activity); since != "" {
			span = "since " + since
		}
		complete = activity.Incomplete == "" || full
	}()
	return func() (map[string]int64, string, bool) {
		<-done
		return calls, span, complete
	}
}

func catalogued(model modelmanager.ModelInfo) catalogueModel {
	m := catalogueModel{ModelInfo: model, ByOwner: "/?" + url.Values{"owner": {model.Owner}}.Encode()}
	for _, name := range slices.Sorted(maps.Keys(model.Labels)) {
		value := model.Labels[name]
		m.Tags = append(m.Tags, tag{pair{name, value}, "/?" + url.Values{"label": {name + "=" + value}}.Encode()})
	}
	return m
}

// choose marks the choice that an address asks of a field. What the field doesn't
// offer is left out, and named in unknown: such an address was made by hand.
func choose(choices []choice, asked, field string, unknown *[]string) string {
	at := slices.IndexFunc(choices, func(c choice) bool { return c.Value == asked })
	if at < 0 {
		*unknown = append(*unknown, fmt.Sprintf("“%.50s” is no choice of “%s”, and was left out.", strings.ToValidUTF8(asked, "?"), field))
		asked, at = "", 0
	}
	choices[at].On = true
	return asked
}

// describeFilters lists the filters, those beside the search form's own fields
// as chips.
func (p *cataloguePage) describeFilters() {
	if p.Query.Owner != "" {
		p.Hidden = append(p.Hidden, pair{"owner", p.Query.Owner})
		without := p.Query
		without.Owner = ""
		p.Chips = append(p.Chips, filter{pair{"Owner", p.Query.Owner}, catalogueAddress(without, "")})
	}
	for _, name := range slices.Sorted(maps.Keys(p.Query.Labels)) {
		value := p.Query.Labels[name]
		p.Hidden = append(p.Hidden, pair{"label", name + "=" + value})
		without := p.Query
		without.Labels = maps.Clone(p.Query.Labels)
		delete(without.Labels, name)
		p.Chips = append(p.Chips, filter{pair{name, value}, catalogueAddress(without, "")})
	}
}

// catalogueAddress is where a page of a query's models is.
func catalogueAddress(query client.ModelQuery, page string) string {
	values := url.Values{}
	for name, value := range map[string]string{"q": query.Text, "owner": query.Owner, "serve": string(query.Serve), "health": string(query.Health), "page": page} {
		if value != "" {
			values.Set(name, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(query.Labels)) {
		values.Add("label", name+"="+query.Labels[name])
	}
	if len(values) == 0 {
		return "/"
	}
	return "/?" + values.Encode()
}
