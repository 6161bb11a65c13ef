package web

import (
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
	add(dialectField{Name: "format", Label: "Kind of file", Choices: []choice{
		{Value: "csv", Name: "CSV or other text"}, {Value: "xlsx", Name: "Excel (.xlsx)"}, {Value: "parquet", Name: "Parquet"}, {Value: "jsonl", Name: "JSON Lines"},
	}})
	switch in.Format {
	case "csv", "":
		add(dialectField{Name: "delimiter", Label: "Columns are separated by", Choices: []choice{
			{Value: ",", Name: "comma  ,"}, {Value: ";", Name: "semicolon  ;"}, {Value: "tab", Name: "tab"}, {Value: "|", Name: "bar  |"},
		}})
		add(dialectField{Name: "decimal", Label: "Decimals are written", Choices: []choice{{Value: ".", Name: "1.5"}, {Value: ",", Name: "1,5"}}})
		add(dialectField{Name: "encoding", Label: "Letters are encoded as", Hint: "Change this if ä, é or ß look wrong below.", Choices: []choice{
			{Value: "utf-8", Name: "UTF-8"}, {Value: "windows-1252", Name: "Windows (Western Europe)"}, {Value: "windows-1250", Name: "Windows (Central Europe)"},
			{Value: "iso-8859-1", Name: "ISO 8859-1"}, {Value: "iso-8859-15", Name: "ISO 8859-15"}, {Value: "utf-16le", Name: "UTF-16 (little endian)"}, {Value: "utf-16be", Name: "UTF-16 (big endian)"},
		}})
	case "xlsx":
		if len(check.Sheets) > 0 {
			sheets := make([]choice, len(check.Sheets))
			for i, name := range check.Sheets {
				sheets[i] = choice{Value: name, Name: name}
			}
			add(dialectField{Name: "sheet", Label: "Sheet", Choices: sheets})
		}
	}
	if in.Format == "csv" || in.Format == "xlsx" || in.Format == "" {
		add(dialectField{Name: "header_row", Label: "Names are in row", Hint: "1 is the first row.", Number: true})
	}
	if in.Format != "parquet" {
		add(dialectField{Name: "dates", Label: "Dates are written", Choices: []choice{
			{Value: isoDates, Name: "2026-03-31"}, {Value: "DD/MM/YYYY", Name: "31/03/2026"}, {Value: "MM/DD/YYYY", Name: "03/31/2026"}, {Value: "DD.MM.YYYY", Name: "31.03.2026"},
			{Value: "YYYY/MM/DD", Name: "2026/03/31"}, {Value: "DD-MM-YYYY", Name: "31-03-2026"}, {Value: "YYYYMMDD", Name: "20260331"},
		}})
		if times || asked.Timezone != "" {
			add(dialectField{Name: "timezone", Label: "Times are those of", Hint: "Such as Europe/London; for times that don’t say theirs."})
		}
		if in.Format != "jsonl" {
			add(dialectField{Name: "null", Label: "Also means empty", Hint: "Such as NA, n/a. Several are separated by commas."})
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
