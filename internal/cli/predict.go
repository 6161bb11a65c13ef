package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
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
}

func newPredict(g *global) *cobra.Command {
	o := &predictOptions{global: g}
	command := &cobra.Command{
		Use:   "predict MODEL [FEATURE=VALUE…]",
		Short: "Ask a model, in real time",
		Long: `Ask a model for predictions: of the row given as FEATURE=VALUE, of the rows in
a .json or .csv file, of the rows on standard input (--file -), or, with
none of these, of the model's own examples.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return o.run(command.Context(), args[0], args[1:])
		},
	}
	flags := command.Flags()
	flags.StringVarP(&o.file, "file", "f", "", "rows.json, rows.csv, or - for standard input")
	flags.IntVar(&o.version, "version", 0, "this version, whatever the traffic")
	flags.BoolVar(&o.partial, "partial", false, "answer the good rows, and name the others")
	return command
}

func (o *predictOptions) run(ctx context.Context, model string, values []string) error {
	api, err := o.client()
	if err != nil {
		return err
	}
	if strings.EqualFold(filepath.Ext(o.file), ".csv") {
		return o.runCSV(ctx, api, model)
	}
	var request modelmanager.PredictRequest
	switch {
	case o.file != "" && len(values) > 0:
		return usageError{fmt.Errorf("give either FEATURE=VALUE or --file, not both")}
	case o.file != "":
		request, err = o.readRows()
	case len(values) > 0:
		var row json.RawMessage
		if row, err = o.rowOf(ctx, api, model, values); err == nil {
			request.Rows = []json.RawMessage{row}
		}
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

func (o *predictOptions) runCSV(ctx context.Context, api *client.Client, model string) error {
	file, err := os.Open(o.file)
	if err != nil {
		return err
	}
	defer file.Close()
	answer, err := api.PredictStream(ctx, model, o.version, "text/csv", file)
	if err != nil {
		return err
	}
	defer answer.Close()
	_, err = io.Copy(o.Out, answer)
	return err
}

// readRows reads a request, an array of rows, or one row.
func (o *predictOptions) readRows() (modelmanager.PredictRequest, error) {
	var request modelmanager.PredictRequest
	var data []byte
	var err error
	if o.file == "-" {
		data, err = io.ReadAll(o.In)
	} else {
		data, err = os.ReadFile(o.file)
	}
	if err != nil {
		return request, err
	}
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
	types := map[string]modelmanager.Field{}
	for _, f := range s.Features {
		types[f.Name] = f
	}
	row := map[string]json.RawMessage{}
	for _, pair := range values {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			return nil, usageError{fmt.Errorf("%q is not FEATURE=VALUE", pair)}
		}
		field := types[name]
		isText := field.Type == modelmanager.String || field.Format == modelmanager.FormatInt64
		switch {
		case value == "null" && field.Nullable:
			row[name] = json.RawMessage("null")
		case !isText && json.Valid([]byte(value)):
			row[name] = json.RawMessage(value)
		default:
			row[name], _ = json.Marshal(value)
		}
	}
	return json.Marshal(row)
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
