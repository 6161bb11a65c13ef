package dataset

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	modelmanager "modelmanager.dev"
)

// Header is what a file says about its columns. A Writer needs it to write
// rows the way the file has them.
type Header struct {
	Columns []string // in the file's order; of JSON Lines, the keys of the first rows

	newline string        // of a CSV file
	bom     bool          // the text begins with a byte order mark
	raw     []byte        // the CSV header as it stands, without its line end
	data    int64         // offset of the first byte after the header
	line    int64         // of a text's first data row; 1 is the first
	arrow   *arrow.Schema // of a Parquet file

	targets []target // per column, which feature it is; nil: not known
	kinds   []kind   // per column, of its feature
}

// bind notes which columns are features, for a Writer of another format.
func (h *Header) bind(s *Schema, b *binding) {
	h.targets = b.targets
	h.kinds = make([]kind, len(b.targets))
	for i, to := range b.targets {
		switch {
		case to.feature < 0:
		case to.item >= 0:
			h.kinds[i] = s.rules[to.feature].item.kind
		default:
			h.kinds[i] = s.rules[to.feature].kind
		}
	}
}

// target says where a file's column goes: to a feature, to one item of a fixed
// array, or (feature −1) only through to the output.
type target struct {
	feature int
	item    int // −1: the whole feature
}

// binding is how a file's columns and the features belong together.
type binding struct {
	targets []target // per column of the file
	absent  []int    // optional features without a column
}

var through = target{feature: -1, item: -1}

// bindHeader finds every feature's column. Names must be equal; what is only
// similar becomes a suggestion. All that is wrong is said at once.
func bindHeader(s *Schema, columns []string, input modelmanager.JobInput) (*binding, error) {
	b := &binder{schema: s, columns: columns, input: input, at: make(map[string]int, len(columns))}
	b.result.targets = make([]target, len(columns))
	for i := range b.result.targets {
		b.result.targets[i] = through
	}
	b.index()
	b.checkMapping()
	for i := range s.Fields() {
		b.bind(i)
	}
	if err := b.err(); err != nil {
		return nil, err
	}
	return &b.result, nil
}

type binder struct {
	schema  *Schema
	columns []string
	input   modelmanager.JobInput
	keys    bool           // the columns are keys of JSON objects
	at      map[string]int // header → column
	result  binding
	invalid []string // problems of the file or the mapping
	missing []modelmanager.RowError
}

func (b *binder) index() {
	if err := checkDuplicates(b.columns); err != nil {
		b.invalid = append(b.invalid, err.Error())
	}
	for i, name := range b.columns {
		if _, ok := b.at[name]; !ok {
			b.at[name] = i
		}
	}
}

// checkDuplicates refuses two columns of one name. Nameless ones don't count:
// spreadsheets leave them behind, and no feature can be meant.
func checkDuplicates(columns []string) error {
	seen := make(map[string]int, len(columns))
	var double []string
	for i, name := range columns {
		first, ok := seen[name]
		if ok && name != "" {
			double = append(double, fmt.Sprintf("%q (columns %d and %d)", name, first+1, i+1))
			continue
		}
		seen[name] = i
	}
	if len(double) == 0 {
		return nil
	}
	return modelmanager.Errorf(modelmanager.CodeInvalidInput,
		"the header has a name twice: %s; rename one of them", strings.Join(double, ", "))
}

func (b *binder) checkMapping() {
	for _, feature := range sortedKeys(b.input.Columns) {
		if _, ok := b.schema.Index(feature); ok {
			continue
		}
		text := fmt.Sprintf("input.columns maps %q, which is no feature of the model", feature)
		if near := b.schema.Nearest(feature); near != "" {
			text += fmt.Sprintf("; is %q meant?", near)
		}
		b.invalid = append(b.invalid, text)
	}
}

// bind finds the column, or columns, of one feature.
func (b *binder) bind(feature int) {
	field := b.schema.Fields()[feature]
	header, mapped := b.input.Columns[field.Name]
	if !mapped {
		header = field.Name
	}
	if column, ok := b.at[header]; ok {
		b.claim(column, target{feature: feature, item: -1})
		return
	}
	items := itemHeaders(field, header)
	found := 0
	for _, name := range items {
		if _, ok := b.at[name]; ok {
			found++
		}
	}
	if found > 0 && found == len(items) {
		for i, name := range items {
			b.claim(b.at[name], target{feature: feature, item: i})
		}
		return
	}
	switch {
	case found > 0:
		for _, name := range items {
			if _, ok := b.at[name]; !ok {
				b.lacks(field.Name, fmt.Sprintf("the column %q of its items is missing", name), name)
			}
		}
	case mapped:
		b.lacks(field.Name, fmt.Sprintf("input.columns maps it to %q, and no column is called so", header), header)
	case field.Optional:
		b.result.absent = append(b.result.absent, feature)
	default:
		b.lacks(field.Name, "there is no column of this name", field.Name)
	}
}

// itemHeaders names the columns that a fixed array's items may have, instead of
// one column for the array: probability.a, or probability.0.
func itemHeaders(field modelmanager.Field, header string) []string {
	if field.Type != modelmanager.Array {
		return nil
	}
	if len(field.Labels) > 0 {
		names := make([]string, len(field.Labels))
		for i, label := range field.Labels {
			names[i] = header + "." + label
		}
		return names
	}
	if field.Length == nil {
		return nil
	}
	names := make([]string, *field.Length)
	for i := range names {
		names[i] = fmt.Sprintf("%s.%d", header, i)
	}
	return names
}

func (b *binder) claim(column int, to target) {
	if taken := b.result.targets[column]; taken.feature >= 0 {
		fields := b.schema.Fields()
		b.invalid = append(b.invalid, fmt.Sprintf("the column %q is meant for two features, %q and %q; correct input.columns",
			b.columns[column], fields[taken.feature].Name, fields[to.feature].Name))
		return
	}
	b.result.targets[column] = to
}

// lacks notes a missing column, with the nearest headers that no feature takes.
func (b *binder) lacks(feature, text, wanted string) {
	var free []string
	for i, name := range b.columns {
		if _, isFeature := b.schema.Index(name); !isFeature && b.result.targets[i].feature < 0 && name != "" {
			free = append(free, name)
		}
	}
	if near := nearest(wanted, free); near != "" {
		text += fmt.Sprintf("; the nearest is %q: rename it, or map it with input.columns", near)
	}
	b.missing = append(b.missing, modelmanager.RowError{Feature: feature, Message: text})
}

// err puts all problems into one error. Missing columns come first: they are
// what most people have to repair.
func (b *binder) err() error {
	if len(b.missing) == 0 && len(b.invalid) == 0 {
		return nil
	}
	code := modelmanager.CodeInvalidInput
	var texts []string
	if len(b.missing) > 0 {
		code = modelmanager.CodeMissingColumn
		for _, m := range b.missing {
			texts = append(texts, fmt.Sprintf("%s: %s", m.Feature, m.Message))
		}
	}
	texts = append(texts, b.invalid...)
	text := "the header doesn't fit the model: "
	if b.keys {
		text = "the keys of the rows don't fit the model: "
	}
	text += strings.Join(texts, "; ")
	if len(b.missing) > 0 {
		text += "; the file has " + listColumns(b.columns)
	}
	err := modelmanager.Errorf(code, "%s", text)
	err.Rows = b.missing
	return err
}

func listColumns(columns []string) string {
	const shown = 30
	quoted := make([]string, 0, min(len(columns), shown))
	for _, name := range columns[:min(len(columns), shown)] {
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	text := strings.Join(quoted, ", ")
	if len(columns) > shown {
		text += fmt.Sprintf(" and %d more columns", len(columns)-shown)
	}
	return text
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
