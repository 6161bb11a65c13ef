package data

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"modelmanager.dev"
)

// Models that answer in the way that their rows ask for; those with two
// predictions have a label beside the number.
const (
	onePandas = "answers-pandas"
	twoPandas = "answers-pandas-two"
	oneR      = "answers-r"
	twoR      = "answers-r-two"
)

func answerModels() []model {
	features := []modelmanager.Field{{Name: "how", Type: modelmanager.String}, {Name: "x", Type: modelmanager.Number}}
	p := modelmanager.Field{Name: "p", Type: modelmanager.Number, Minimum: new(0.0), Maximum: new(1.0)}
	label := modelmanager.Field{Name: "label", Type: modelmanager.String, Enum: []any{"a", "b"}}
	var all []model
	for _, m := range []model{
		{language: "python", folder: "answers-pandas", run: `{"python": "predict.py:predict"}`},
		{language: "r", folder: "answers-r", run: `{"r": "predict.R:predict"}`},
	} {
		m.features = features
		one, two := m, m
		one.name, one.predicts, one.example = m.folder, []modelmanager.Field{p}, `{"how": "frame", "x": 0.5}`
		two.name, two.predicts, two.example = m.folder+"-two", []modelmanager.Field{p, label}, `{"how": "labelled", "x": 0.5}`
		all = append(all, one, two)
	}
	return all
}

const (
	right  = `[{"p":0.25},{"p":0.9},{"p":0.5}]`
	labels = `[{"p":0.25,"label":"a"},{"p":0.9,"label":"b"},{"p":0.5,"label":"b"}]`
)

// TestAnswers asks for three rows, x = 0.25, 0.9 and 0.5: what comes back is
// p = x for each of them, or an error that says what was wrong.
func TestAnswers(t *testing.T) {
	tests := []struct {
		how         string
		want        string // predictions, or part of the error
		python, inR string // the models to ask; "" for none
	}{
		{"frame", right, onePandas, oneR},
		{"series", right, onePandas, ""},
		{"array", right, onePandas, oneR},
		{"list", right, onePandas, oneR},
		{"dicts", right, onePandas, ""},
		{"permuted", right, onePandas, oneR},
		{"permuted series", right, onePandas, ""},
		{"labelled", labels, twoPandas, twoR},
		{"turned", labels, twoPandas, twoR},
		{"pairs", `[{"p":0.25,"label":"a"},{"p":0.9,"label":"a"},{"p":0.5,"label":"a"}]`, twoPandas, ""},
		{"foreign", "can't be told apart", onePandas, oneR},
		{"proba", "predict_proba? take [:, 1]", onePandas, ""},
		{"proba", `type = \"prob\"? take [, 2]`, "", oneR},
		{"wide", "3 columns for 1 prediction", onePandas, oneR},
		{"few", "2 predictions for 3 rows", onePandas, oneR},
		{"many", "4 predictions for 3 rows", onePandas, oneR},
		{"fewer", "2 predictions for 3 rows", onePandas, oneR},
		{"nan", "NaN", onePandas, oneR},
		{"beyond", "maximum", onePandas, oneR},
		{"text", "number", onePandas, oneR},
		{"name", "pp", onePandas, oneR},
		{"extra", "q", onePandas, oneR},
		{"nothing", "must return predictions", onePandas, oneR},
		{"level", `\"c\"`, twoPandas, twoR},
		{"half", "label", twoPandas, twoR},
	}
	for _, test := range tests {
		for _, model := range []string{test.python, test.inR} {
			if model == "" {
				continue
			}
			t.Run(model+"/"+test.how, func(t *testing.T) {
				language := "python"
				if model == test.inR {
					language = "r"
				}
				need(t, language)
				var rows []string
				for _, x := range []string{"0.25", "0.9", "0.5"} {
					rows = append(rows, fmt.Sprintf(`{"how": %q, "x": %s}`, test.how, x))
				}
				response := post(t, "/v1/models/"+model+"/predict", "application/json", `{"rows": [`+strings.Join(rows, ",")+`]}`)
				body, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(test.want, "[") {
					checkPredictions(t, response, body, test.want)
				} else if response.StatusCode != http.StatusBadGateway || !strings.Contains(string(body), test.want) {
					t.Errorf("%s: %s, want 502: …%s…", response.Status, body, test.want)
				}
			})
		}
	}
}

func checkPredictions(t *testing.T, response *http.Response, body []byte, want string) {
	t.Helper()
	var answer struct {
		Predictions json.RawMessage `json:"predictions"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v: %s", response.Status, err, body)
	}
	if string(answer.Predictions) != want {
		t.Errorf("predictions are %s, want %s", answer.Predictions, want)
	}
}
