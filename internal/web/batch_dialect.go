package web

import (
	"strings"

	"modelmanager.dev"
)

// dialectField is one thing that says how a file is read, to be corrected.
type dialectField struct {
	Name, Label, Hint string
	Value             string // as the file was read
	Asked             bool   // by the visitor; else it was found out
	Choices           []choice
	Number            bool
}

// dialectLabels are what the fields are called, by their names in the API.
var dialectLabels = map[string]string{
	"format":     "Kind of file",
	"delimiter":  "Columns are separated by",
	"decimal":    "Decimals are written",
	"encoding":   "Letters are encoded as",
	"sheet":      "Sheet",
	"header_row": "Names are in row",
	"dates":      "Dates are written",
	"timezone":   "Times are those of",
	"null":       "Also means empty",
}

// asLabelled is a message of the API's with its options called as they are on
// the page of the check.
func asLabelled(message string) string {
	if !strings.Contains(message, "put.") {
		return message
	}
	names := []string{
		"input.columns", "“Which column is what”", "output.prefix", "“Put before the names of predictions”", "output.format", "“Format”",
	}
	for name, label := range dialectLabels {
		names = append(names, "input."+name, "“"+label+"”")
	}
	return strings.NewReplacer(names...).Replace(message)
}

// isoDates is the layout of dates that a file has unless something else is said.
const isoDates = "ISO"

// dialectOf are the fields that matter to a file of this kind.
func dialectOf(asked modelmanager.JobInput, check modelmanager.JobCheck, times bool) []dialectField {
	in := check.Input
	var fields []dialectField
	add := func(f dialectField) {
		f.Value = dialectValue(in, f.Name)
		if f.Name == "dates" && f.Value == "" {
			f.Value = isoDates
		}
		f.Asked = dialectValue(asked, f.Name) != ""
		for i := range f.Choices {
			f.Choices[i].On = f.Choices[i].Value == f.Value
		}
		if f.Choices != nil && !chosen(f.Choices) {
			f.Choices = append([]choice{{Value: f.Value, Name: unknownName(f), On: true}}, f.Choices...)
		}
		fields = append(fields, f)
	}
	add(dialectField{Name: "format", Label: dialectLabels["format"], Choices: []choice{
		{Value: "csv", Name: "CSV or other text"}, {Value: "xlsx", Name: "Excel (.xlsx)"}, {Value: "parquet", Name: "Parquet"}, {Value: "jsonl", Name: "JSON Lines"},
	}})
	switch in.Format {
	case "csv", "":
		add(dialectField{Name: "delimiter", Label: dialectLabels["delimiter"], Choices: []choice{
			{Value: ",", Name: "comma  ,"}, {Value: ";", Name: "semicolon  ;"}, {Value: "tab", Name: "tab"}, {Value: "|", Name: "bar  |"},
		}})
		add(dialectField{Name: "decimal", Label: dialectLabels["decimal"], Choices: []choice{{Value: ".", Name: "1.5"}, {Value: ",", Name: "1,5"}}})
		add(dialectField{Name: "encoding", Label: dialectLabels["encoding"], Hint: "Change this if ä, é or ß look wrong below.", Choices: []choice{
			{Value: "utf-8", Name: "UTF-8"}, {Value: "windows-1252", Name: "Windows (Western Europe)"}, {Value: "windows-1250", Name: "Windows (Central Europe)"},
			{Value: "iso-8859-1", Name: "ISO 8859-1"}, {Value: "iso-8859-15", Name: "ISO 8859-15"}, {Value: "utf-16le", Name: "UTF-16 (little endian)"}, {Value: "utf-16be", Name: "UTF-16 (big endian)"},
		}})
	case "xlsx":
		if len(check.Sheets) > 0 {
			sheets := make([]choice, len(check.Sheets))
			for i, name := range check.Sheets {
				sheets[i] = choice{Value: name, Name: name}
			}
			add(dialectField{Name: "sheet", Label: dialectLabels["sheet"], Choices: sheets})
		}
	}
	if in.Format == "csv" || in.Format == "xlsx" || in.Format == "" {
		add(dialectField{Name: "header_row", Label: dialectLabels["header_row"], Hint: "1 is the first row.", Number: true})
	}
	if in.Format != "parquet" {
		add(dialectField{Name: "dates", Label: dialectLabels["dates"], Choices: []choice{
			{Value: isoDates, Name: "2026-03-31"}, {Value: "DD/MM/YYYY", Name: "31/03/2026"}, {Value: "MM/DD/YYYY", Name: "03/31/2026"}, {Value: "DD.MM.YYYY", Name: "31.03.2026"},
			{Value: "YYYY/MM/DD", Name: "2026/03/31"}, {Value: "DD-MM-YYYY", Name: "31-03-2026"}, {Value: "YYYYMMDD", Name: "20260331"},
		}})
		if times || asked.Timezone != "" {
			add(dialectField{Name: "timezone", Label: dialectLabels["timezone"], Hint: "Such as Europe/London; for times that don’t say theirs."})
		}
		if in.Format != "jsonl" {
			add(dialectField{Name: "null", Label: dialectLabels["null"], Hint: "Such as NA, n/a. Several are separated by commas."})
		}
	}
	return fields
}

func chosen(choices []choice) bool {
	for _, one := range choices {
		if one.On {
			return true
		}
	}
	return false
}

func unknownName(f dialectField) string {
	if f.Value == "" {
		return "find out"
	}
	return f.Value
}
