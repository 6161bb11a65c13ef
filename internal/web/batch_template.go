package web

import (
	"encoding/csv"
	"encoding/json"
	"fmt"

	"github.com/xuri/excelize/v2"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// batchTemplate answers an empty file with the right header, and one of the
// examples of the version that shall predict as its first row.
func (v *visit) batchTemplate() error {
	version, err := v.askedVersion()
	if err != nil {
		return err
	}
	model, parsed, err := v.batchModel(version)
	if err != nil {
		return err
	}
	header, example := templateRows(parsed)
	name := v.r.PathValue("name")
	v.w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", model.Name+"-"+name))
	switch name {
	case "template.csv":
		v.w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		w := csv.NewWriter(v.w)
		_ = w.Write(header)
		if example != nil {
			texts := make([]string, len(example))
			for i, value := range example {
				if value != nil {
					texts[i] = fmt.Sprint(value)
				}
			}
			_ = w.Write(texts)
		}
		w.Flush()
		return nil
	case "template.xlsx":
		book := excelize.NewFile()
		defer book.Close()
		const sheet = "Sheet1"
		if err := book.SetSheetRow(sheet, "A1", &header); err != nil {
			return err
		}
		if err := book.SetSheetRow(sheet, "A2", &example); err != nil {
			return err
		}
		v.w.Header().Set("Content-Type", contentTypeOf["xlsx"])
		_ = book.Write(v.w) // the visitor may be gone
		return nil
	}
	v.w.Header().Del("Content-Disposition")
	return &modelmanager.Error{Code: modelmanager.CodeNotFound, Detail: "there are template.csv and template.xlsx"}
}

// contentTypeOf the formats that files have.
var contentTypeOf = map[string]string{
	"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet",
	"xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

// templateRows are the columns that a file needs, and the values of an example.
func templateRows(s *spec.Spec) (header []string, example []any) {
	var values map[string]json.RawMessage
	if len(s.Examples) > 0 {
		values, example = s.Examples[0].Features, []any{}
	}
	add := func(name string, raw json.RawMessage) {
		header = append(header, name)
		var value any
		if json.Unmarshal(raw, &value) != nil {
			value = nil
		}
		switch value.(type) {
		case []any, map[string]any:
			value = string(raw)
		}
		if example != nil {
			example = append(example, value)
		}
	}
	for _, field := range s.Features {
		raw := values[field.Name]
		if len(field.Labels) == 0 {
			add(field.Name, raw)
			continue
		}
		var items []json.RawMessage
		_ = json.Unmarshal(raw, &items)
		for i, label := range field.Labels {
			item := json.RawMessage(nil)
			if i < len(items) {
				item = items[i]
			}
			add(field.Name+"."+label, item)
		}
	}
	return header, example
}

// attachment says that a file follows, and what it is called.
func (v *visit) attachment(name, format string) {
	header := v.w.Header()
	header.Set("Content-Type", contentTypeOf[format])
	header.Set("Content-Disposition", disposition(name))
	header.Set("Cache-Control", "no-store")
}
