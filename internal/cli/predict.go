package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"modelmanager.dev"
	"modelmanager.dev/client"
	"modelmanager.dev/internal/spec"
)

type predictOptions struct {
	*global
	file    string
	version int
	partial bool
	input   modelmanager.JobInput // what is said of a CSV
}

func newPredict(g *global) *cobra.Command {
	o := &predictOptions{global: g}
	command := &cobra.Command{
		Use:   "predict MODEL [FEATURE=VALUE…]",
		Short: "Ask a model, in real time",
		Long: `Ask a model for predictions: of the row given as FEATURE=VALUE, of the rows in
a .json or .csv file, of the rows on standard input (--file -, JSON or CSV), or,
with none of these, of the model's own examples.

  mm predict iris petal_length=4.1 petal_width=1.3
  mm predict iris --file rows.json     # [{"petal_length": 4.1, …}, …]
  mm predict iris --file rows.csv      # answers CSV; with -o json, JSON

How a CSV is read is found out, as for a job, and said on standard error.`,
		Args: atLeastOne,
		RunE: func(command *cobra.Command, args []string) error {
			return o.run(command.Context(), args[0], args[1:])
		},
	}
	flags := command.Flags()
	flags.StringVarP(&o.file, "file", "f", "", "rows.json, rows.csv, or - for standard input")
	flags.IntVar(&o.version, "version", 0, "this version, whatever the traffic")
	flags.BoolVar(&o.partial, "partial", false, "answer the good rows, and name the others")
	dialectFlags(flags, &o.input)
	return command
}

func (o *predictOptions) run(ctx context.Context, model string, values []string) error {
	api, err := o.client()
	if err != nil {
		return err
	}
	if o.file != "" && len(values) > 0 {
		return usageError{errors.New("give either FEATURE=VALUE or --file, not both")}
	}
	var request modelmanager.PredictRequest
	switch {
	case o.file != "":
		data, isCSV, err := o.read()
		if err != nil {
			return err
		}
		if isCSV && o.output == "table" && !o.partial {
			return o.passCSV(ctx, api, model, data)
		}
		if isCSV {
			return o.rowsOfCSV(ctx, api, model, data)
		}
		if request, err = o.readRows(data); err != nil {
			return err
		}
	case len(values) > 0:
		row, err := o.rowOf(ctx, api, model, values)
		if err != nil {
			return err
		}
		request.Rows = []json.RawMessage{row}
	default:
		request, err = o.examples(ctx, api, model)
	}
	if err != nil {
		return err
	}
	if o.partial {
		request.OnError = "partial"
	}
	answer, err := api.Predict(ctx, model, o.version, request)
	if err != nil {
		return err
	}
	return o.show(answer, func(w io.Writer) { printPredictions(w, answer) })
}

// read reads --file, and tells whether it is CSV: so its name says, or that it
// begins as no JSON does.
func (o *predictOptions) read() (data []byte, isCSV bool, err error) {
	if o.file == "-" {
		data, err = io.ReadAll(o.In)
	} else {
		file, _, openErr := openInput(o.file)
		if openErr != nil {
			return nil, false, openErr
		}
		defer file.Close()
		data, err = io.ReadAll(file)
	}
	name := strings.ToLower(o.file)
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	switch filepath.Ext(name) {
	case ".csv", ".tsv":
		return data, true, err
	case ".json":
		return data, false, err
	}
	start := bytes.TrimSpace(data)
	return data, len(start) > 0 && start[0] != '[' && start[0] != '{', err
}

// passCSV sends CSV as it is, and prints the CSV that comes back.
func (o *predictOptions) passCSV(ctx context.Context, api *client.Client, model string, data []byte) error {
	answer, input, err := api.PredictCSV(ctx, model, o.version, bytes.NewReader(data), client.CSVOptions{Input: o.input})
	if err != nil {
		return err
	}
	defer answer.Close()
	o.tellDialect(input)
	_, err = io.Copy(o.Out, answer)
	return err
}

// rowsOfCSV sends CSV, and prints predictions as those of any rows.
func (o *predictOptions) rowsOfCSV(ctx context.Context, api *client.Client, model string, data []byte) error {
	answer, input, err := api.PredictCSVRows(ctx, model, o.version, bytes.NewReader(data), client.CSVOptions{Input: o.input, Partial: o.partial})
	if err != nil {
		return err
	}
	o.tellDialect(input)
	return o.show(answer, func(w io.Writer) { printPredictions(w, answer) })
}

// tellDialect says how a CSV was read, beside the answer.
func (o *predictOptions) tellDialect(input modelmanager.JobInput) {
	fmt.Fprintf(o.Err, "read as %s\n", oneLine(dialectText(input)))
}

// readRows reads a request, an array of rows, or one row.
func (o *predictOptions) readRows(data []byte) (modelmanager.PredictRequest, error) {
	var request modelmanager.PredictRequest
	var err error
	data = bytes.TrimSpace(data)
	if bytes.HasPrefix(data, []byte("[")) {
		err = json.Unmarshal(data, &request.Rows)
	} else {
		var object map[string]json.RawMessage
		if err = json.Unmarshal(data, &object); err == nil {
			if _, isRequest := object["rows"]; isRequest {
				err = json.Unmarshal(data, &request)
			} else {
				request.Rows = []json.RawMessage{data}
			}
		}
	}
	if err != nil {
		return request, modelmanager.Errorf(modelmanager.CodeInvalidRows,
			`%s is neither a row {"feature": value, …}, a list of rows, nor {"rows": […]}: %w`, o.file, err)
	}
	return request, nil
}

// rowOf makes a row of FEATURE=VALUE, typed by the model's features.
func (o *predictOptions) rowOf(ctx context.Context, api *client.Client, model string, values []string) (json.RawMessage, error) {
	s, err := o.spec(ctx, api, model)
	if err != nil {
		return nil, err
	}
	fields := fieldsByName(s)
	row := map[string]json.RawMessage{}
	for _, pair := range values {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			return nil, usageError{fmt.Errorf("%q is not FEATURE=VALUE", pair)}
		}
		if _, twice := row[name]; twice {
			return nil, usageError{fmt.Errorf("%s is given twice", name)}
		}
		row[name] = typed(fields[name], value)
	}
	return json.Marshal(row)
}

func fieldsByName(s *spec.Spec) map[string]modelmanager.Field {
	fields := make(map[string]modelmanager.Field, len(s.Features))
	for _, f := range s.Features {
		fields[f.Name] = f
	}
	return fields
}

// typed is a text as the JSON value that a feature takes; what is none is sent
// as a string, for the server to name.
func typed(field modelmanager.Field, text string) json.RawMessage {
	isText := field.Type == modelmanager.String || field.Format == modelmanager.FormatInt64
	if text == "null" && field.Nullable || !isText && json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	value, _ := json.Marshal(text) // a string always can be
	return value
}

// examples makes a request of the model's own examples.
func (o *predictOptions) examples(ctx context.Context, api *client.Client, model string) (modelmanager.PredictRequest, error) {
	var request modelmanager.PredictRequest
	s, err := o.spec(ctx, api, model)
	if err != nil {
		return request, err
	}
	for _, example := range s.Examples {
		row, err := json.Marshal(example.Features)
		if err != nil {
			return request, err
		}
		request.Rows = append(request.Rows, row)
	}
	return request, nil
}

func (o *predictOptions) spec(ctx context.Context, api *client.Client, model string) (*spec.Spec, error) {
	var raw json.RawMessage
	if o.version != 0 {
		info, err := api.Version(ctx, model, o.version)
		if err != nil {
			return nil, err
		}
		raw = info.Spec
	} else {
		info, err := api.Model(ctx, model)
		if err != nil {
			return nil, err
		}
		raw = info.Spec
	}
	return spec.FromCanonical(string(raw))
}

func printPredictions(w io.Writer, answer modelmanager.PredictResponse) {
	reasons := map[int64]string{}
	for _, e := range answer.Errors {
		if e.Feature != "" {
			e.Message = e.Feature + ": " + e.Message
		}
		reasons[e.Row] = strings.TrimPrefix(reasons[e.Row]+"; "+e.Message, "; ")
	}
	var header []string
	var rows [][]string
	for i, prediction := range answer.Predictions {
		names, values := objectInOrder(prediction)
		if header == nil && names != nil {
			header = names
		}
		row := append([]string{fmt.Sprint(i)}, values...)
		if values == nil {
			row = append(row, "refused: "+reasons[int64(i)])
		}
		rows = append(rows, row)
	}
	fmt.Fprintf(w, "%s version %d\n", answer.Model, answer.Version)
	table(w, append([]string{"ROW"}, header...), rows)
}

// objectInOrder splits a JSON object into its keys and values, as they come;
// nil for null.
func objectInOrder(object json.RawMessage) (names, values []string) {
	decoder := json.NewDecoder(bytes.NewReader(object))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil, nil
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return names, values
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return names, values
		}
		names = append(names, fmt.Sprint(name))
		values = append(values, string(value))
	}
	return names, values
}
