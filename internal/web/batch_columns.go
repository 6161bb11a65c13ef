package web

import (
	"slices"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/wording"
)

// maxOptions bounds how many options the selects of a page have together;
// beyond, a name is typed, with the headers as suggestions.
const maxOptions = 6000

// columnRow is a feature, and the column that it is taken from.
type columnRow struct {
	Feature, Kind, About string
	Needed               bool
	Header               string // "": none
	How                  string // it was found, in words
	Class                string // of the chip that says so
	Asked                bool   // by the visitor
	Items                bool   // an array with a column each
	Choices              []choice
	Samples              []string
	Wrong                string // why it can't be this
	Bad                  int64  // rows
}

func (p *checkPage) describeColumns(check modelmanager.JobCheck, parsed *spec.Spec) {
	selects := len(parsed.Features)*len(check.Headers) <= maxOptions
	if !selects {
		p.Headers = check.Headers
	}
	at := map[string]int{}
	for i, header := range check.Headers {
		if _, ok := at[header]; !ok {
			at[header] = i
		}
	}
	for _, field := range parsed.Features {
		row := columnRow{Feature: field.Name, Kind: kindOf(field), About: field.Description, Needed: !field.Optional, Header: check.Mapping[field.Name]}
		row.How, row.Class = howMatched(check.Matched[field.Name], p.Recalled)
		row.Items = check.Matched[field.Name] == "items"
		_, row.Asked = p.Request.Input.Columns[field.Name]
		if row.Header != "" {
			row.Samples = samples(check.First, at[row.Header])
		}
		for _, one := range check.Problems {
			if one.Column != field.Name {
				continue
			}
			if one.Count == 0 {
				row.Wrong = one.Message
				row.How, row.Class = "no column", "bad"
			}
			row.Bad += one.Count
		}
		if selects {
			row.Choices = headerChoices(check.Headers, row)
		}
		p.Columns = append(p.Columns, row)
	}
}

func headerChoices(headers []string, row columnRow) []choice {
	first := choice{Name: "Choose a column", On: row.Header == ""}
	if row.Items {
		first.Name = "a column for each value"
	} else if !row.Needed {
		first.Name = "No column"
	}
	choices := []choice{first}
	for _, header := range headers {
		if header != "" {
			choices = append(choices, choice{Value: header, Name: header, On: header == row.Header})
		}
	}
	return choices
}

// howMatched says how a feature's column was found.
func howMatched(how string, recalled bool) (text, class string) {
	switch how {
	case "name":
		return "same name", "good"
	case "likeness":
		return "similar name", "warn"
	case "order":
		return "by its place", "warn"
	case "items":
		return "a column each", "good"
	case "asked":
		if recalled {
			return "as last time", "on"
		}
		return "by hand", "on"
	}
	return "no column", ""
}

// samples are a few different values of a column.
func samples(rows [][]string, column int) []string {
	var found []string
	for _, row := range rows {
		if column < len(row) && row[column] != "" && !slices.Contains(found, row[column]) && len(found) < 3 {
			found = append(found, wording.Shorten(row[column], 40))
		}
	}
	return found
}
