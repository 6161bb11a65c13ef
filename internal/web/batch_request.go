package web

import (
	"net/url"
	"strconv"
	"strings"

	"modelmanager.dev"
)

// noLimit is the max_rejected of who wants to see every row's fate.
const noLimit = "100%"

// dialect are the parameters that say how a file is read.
var dialect = []string{"format", "compression", "delimiter", "encoding", "decimal", "header_row", "sheet", "dates", "timezone", "null"}

// choices are the parameters that say what becomes of it.
var choices = []string{"as", "prefix", "rejected", "formulas", "plain", "max_rejected", "version"}

// columnParameter begins the parameters that say which column a feature has.
const columnParameter = "column."

// requestOf reads a job's request from the parameters of an address or a form.
// What isn't there, the API finds out.
func requestOf(values url.Values) modelmanager.JobRequest {
	var r modelmanager.JobRequest
	in := &r.Input
	in.Upload, in.URI, in.Name = values.Get("upload"), values.Get("uri"), values.Get("name")
	in.Format, in.Compression = values.Get("format"), values.Get("compression")
	in.Delimiter, in.Encoding, in.Decimal = values.Get("delimiter"), values.Get("encoding"), values.Get("decimal")
	in.Sheet, in.Dates, in.Timezone = values.Get("sheet"), values.Get("dates"), values.Get("timezone")
	in.HeaderRow, _ = strconv.Atoi(values.Get("header_row"))
	in.Null = nullsOf(values.Get("null"))
	for name := range values {
		if feature, ok := strings.CutPrefix(name, columnParameter); ok {
			if in.Columns == nil {
				in.Columns = map[string]string{}
			}
			in.Columns[feature] = values.Get(name)
		}
	}
	r.Output.Format, r.Output.Prefix = values.Get("as"), values.Get("prefix")
	r.Output.Rejected, r.Output.Formulas = values.Get("rejected"), values.Get("formulas")
	if values.Get("plain") != "" {
		r.Output.Add = []string{}
	}
	if r.MaxRejected = strings.TrimSpace(values.Get("max_rejected")); r.MaxRejected == "" {
		r.MaxRejected = noLimit
	}
	r.Version, _ = strconv.Atoi(values.Get("version"))
	return r
}

// parametersOf is the opposite of requestOf.
func parametersOf(r modelmanager.JobRequest) url.Values {
	values := url.Values{}
	set := func(name, value string) {
		if value != "" {
			values.Set(name, value)
		}
	}
	in := r.Input
	set("upload", in.Upload)
	set("uri", in.URI)
	set("name", in.Name)
	for _, name := range dialect {
		set(name, dialectValue(in, name))
	}
	for feature, header := range in.Columns {
		values.Set(columnParameter+feature, header)
	}
	set("as", r.Output.Format)
	set("prefix", r.Output.Prefix)
	set("rejected", r.Output.Rejected)
	set("formulas", r.Output.Formulas)
	if r.Output.Add != nil && len(r.Output.Add) == 0 {
		set("plain", "1")
	}
	if r.MaxRejected != noLimit {
		set("max_rejected", r.MaxRejected)
	}
	if r.Version > 0 {
		set("version", strconv.Itoa(r.Version))
	}
	return values
}

// dialectValue is one of the dialect's parameters.
func dialectValue(in modelmanager.JobInput, name string) string {
	switch name {
	case "format":
		return in.Format
	case "compression":
		return in.Compression
	case "delimiter":
		return in.Delimiter
	case "encoding":
		return in.Encoding
	case "decimal":
		return in.Decimal
	case "header_row":
		if in.HeaderRow > 0 {
			return strconv.Itoa(in.HeaderRow)
		}
	case "sheet":
		return in.Sheet
	case "dates":
		return in.Dates
	case "timezone":
		return in.Timezone
	case "null":
		return nullText(in.Null)
	}
	return ""
}

// nullsOf reads what else than an empty cell stands for nothing: "NA, n/a".
func nullsOf(text string) []string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	nulls := []string{""}
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one != "" {
			nulls = append(nulls, one)
		}
	}
	return nulls
}

func nullText(nulls []string) string {
	var texts []string
	for _, null := range nulls {
		if null != "" {
			texts = append(texts, null)
		}
	}
	return strings.Join(texts, ", ")
}

func batchPath(model string) string { return pathOf("models", model, "batch") }

// choosePath is where a file for a version is chosen; 0: the one that the traffic
// says.
func choosePath(model string, version int) string {
	if version == 0 {
		return batchPath(model)
	}
	return batchPath(model) + "?version=" + strconv.Itoa(version)
}

// checkAddress is where a request can be looked at.
func checkAddress(model string, r modelmanager.JobRequest) string {
	return batchPath(model) + "?" + parametersOf(r).Encode()
}
