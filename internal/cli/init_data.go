package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/wording"
)

const (
	initExamples = 3  // rows of the data that become examples
	initRows     = 10 // rows from which on a column is called a counter or an id
)

var (
	// pandasIndex is what pandas calls a frame's index in Parquet, and in a CSV
	// file that it reads and writes again.
	pandasIndex = regexp.MustCompile(`^(__index_level_\d+__|Unnamed: \d+.*)$`)
	// idName is how columns are called that name their row.
	idName = regexp.MustCompile(`(?i)(^|[ _.-])(id|uuid|guid|key|row ?names?)$|[a-z](Id|ID)$|^index$`)
)

// fromData takes features, predictions and examples from --data.
func (o *initOptions) fromData(ctx context.Context, options *spec.InitOptions) error {
	inferred, err := o.infer(ctx)
	if err != nil {
		return err
	}
	if err := o.checkNames(inferred.Fields); err != nil {
		return err
	}
	names, err := o.divide(inferred, options)
	if err != nil {
		return err
	}
	for _, sample := range inferred.Samples[:min(initExamples, len(inferred.Samples))] {
		example := spec.Example{Features: map[string]json.RawMessage{}, Predictions: map[string]json.RawMessage{}}
		for i, field := range inferred.Fields {
			data, err := json.Marshal(sample[field.Name])
			if err != nil {
				return err
			}
			switch name := names[i]; {
			case containsField(options.Predictions, name):
				example.Predictions[name] = data
			case containsField(options.Features, name):
				example.Features[name] = data
			}
		}
		options.Examples = append(options.Examples, example)
	}
	return nil
}

// infer reads --data.
func (o *initOptions) infer(ctx context.Context) (*dataset.Inferred, error) {
	file, _, err := openInput(o.data)
	if err != nil {
		return nil, err
	}
	file.Close()
	source, err := dataset.NewFileSource(o.data)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	input, err := dataset.Sniff(ctx, source, modelmanager.JobInput{Name: filepath.Base(o.data)}, nil)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", o.data, err)
	}
	inferred, err := dataset.Infer(ctx, source, input)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", o.data, err)
	case inferred.Rows == 0:
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput, "%s has a header, but no rows to learn types from", o.data)
	case !inferred.All:
		o.note("features are inferred from the first %d rows", inferred.Rows)
	}
	if inferred.Dates != "" {
		o.note("dates are written as %s; jobs find that out, or take --dates %q", inferred.Dates, inferred.Dates)
	}
	if len(inferred.Null) > 0 {
		o.note("%s is null in %s; say so to jobs: --null \"\" --null %s",
			strings.Join(inferred.Null, " and "), o.data, strings.Join(inferred.Null, " --null "))
	}
	return inferred, nil
}

// note tells people what was decided for them.
func (o *initOptions) note(format string, args ...any) {
	fmt.Fprintln(o.Err, oneLine(fmt.Sprintf(format, args...)))
}

// checkNames checks that the columns asked for are there.
func (o *initOptions) checkNames(fields []modelmanager.Field) error {
	var names []string
	for _, field := range fields {
		names = append(names, field.Name)
	}
	for _, name := range slices.Concat(o.targets, o.ignored) {
		if slices.Contains(names, name) {
			continue
		}
		hint := "it has " + oneLine(wording.Shorten(strings.Join(names, ", "), 300))
		if near := spec.Nearest(name, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return modelmanager.Errorf(modelmanager.CodeMissingColumn, "%s has no column %q; %s", o.data, name, hint)
	}
	return nil
}

// divide makes features and predictions of the data's columns, and returns the
// name that each column has there; "" if it is neither.
func (o *initOptions) divide(inferred *dataset.Inferred, options *spec.InitOptions) (names []string, err error) {
	names = make([]string, len(inferred.Fields))
	taken := map[string]string{}
	for i, field := range inferred.Fields {
		column, trait := field.Name, inferred.Traits[i]
		isTarget := slices.Contains(o.targets, column)
		if slices.Contains(o.ignored, column) {
			continue
		}
		if why := leftOut(column, trait, inferred.Rows); why != "" && !isTarget {
			if strings.TrimSpace(column) == "" {
				column = fmt.Sprintf("column %d", i+1)
			}
			o.note("%s is left out: %s", column, why)
			continue
		}
		field.Name = strings.TrimLeft(strings.TrimSpace(column), "_ ")
		if other, ok := taken[field.Name]; ok || field.Name == "" {
			return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput,
				"%s: the column %q can't be a feature or prediction, whose names don't begin with _ or a space%s; rename it, or leave it out by --ignore",
				o.data, column, orNothing(ok, fmt.Sprintf(", and %q is there already", other)))
		}
		names[i], taken[field.Name] = field.Name, column
		if field.Name != column {
			o.note("%q is called %s in model.yaml: rename the column, or map it in jobs by --column %s=%q", column, field.Name, field.Name, column)
		}
		if isTarget {
			options.Predictions = append(options.Predictions, field)
			continue
		}
		o.remark(field, trait)
		options.Features = append(options.Features, field)
	}
	if len(options.Features) == 0 {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput, "%s has no column left that could be a feature", o.data)
	}
	return names, nil
}

func orNothing(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

// leftOut says why a column is no feature by itself; "" if it may be one.
func leftOut(column string, trait dataset.Trait, rows int64) string {
	switch {
	case strings.TrimSpace(column) == "":
		return "it has no name"
	case pandasIndex.MatchString(column):
		return "it is an index that pandas wrote"
	case trait.Counts && rows >= initRows:
		return "it numbers the rows; add it to the features if it means something"
	case trait.Unique && rows >= initRows && idName.MatchString(column):
		return "it names the rows; add it to the features if it means something"
	}
	return ""
}

// remark says what is worth a second look in a feature.
func (o *initOptions) remark(field modelmanager.Field, trait dataset.Trait) {
	if trait.Constant {
		o.note("%s is the same in all rows: a model learns nothing from it", field.Name)
	}
	if trait.Naive && field.Format == modelmanager.FormatDateTime {
		o.note("%s has no offset from UTC: callers must send one, and jobs name the file's by --timezone; the examples take UTC", field.Name)
	}
}

func containsField(fields []modelmanager.Field, name string) bool {
	return slices.ContainsFunc(fields, func(f modelmanager.Field) bool { return f.Name == name })
}
