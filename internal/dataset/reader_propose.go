package dataset

import (
	"context"

	modelmanager "modelmanager.dev"
)

// ReadHeader reads what a sniffed file says about its columns, whether or not
// they fit a model.
func ReadHeader(ctx context.Context, src Source, input modelmanager.JobInput) (*Header, error) {
	empty, err := Compile(nil)
	if err != nil {
		return nil, err
	}
	input.Columns = nil
	r, err := NewReader(ctx, src, input, empty, Whole(), ReaderOptions{})
	if err != nil {
		return nil, err
	}
	return r.Header(), r.Close()
}

// ProposeColumns suggests an input.columns for features that have no column:
// what is mapped already, and for the others the nearest header that no other
// feature takes. A person decides; nothing is mapped by likeness alone.
func ProposeColumns(s *Schema, columns []string, input modelmanager.JobInput) map[string]string {
	taken := map[string]bool{}
	has := map[string]bool{}
	for _, name := range columns {
		has[name] = true
	}
	proposed := map[string]string{}
	var missing []string
	for _, field := range s.Fields() {
		header, mapped := input.Columns[field.Name]
		if mapped {
			proposed[field.Name] = header
		} else {
			header = field.Name
		}
		items := itemHeaders(field, header)
		for _, name := range items {
			taken[name] = true
		}
		if has[header] {
			taken[header] = true
		} else if !mapped && (len(items) == 0 || !has[items[0]]) {
			missing = append(missing, field.Name)
		}
	}
	for _, feature := range missing {
		var free []string
		for _, name := range columns {
			if name != "" && !taken[name] {
				free = append(free, name)
			}
		}
		if near := nearest(feature, free); near != "" {
			proposed[feature] = near
			taken[near] = true
		}
	}
	return proposed
}
