package spec

import (
	"fmt"
	"strings"

	"modelmanager.dev"
)

func (g *generator) python() {
	g.yaml(`run:
  python: predict.py:predict    # FILE:FUNCTION
# Packages go into a requirements.txt beside this file, with their versions: it is the lock.
# build: {version: "3.12"}
`)
	var text strings.Builder
	if g.sample {
		text.WriteString(`"""A logistic regression by hand. Replace it by your own model."""

import math

COUNTRIES = {"at": 0.0, "ch": 0.3, "de": 0.1}


def predict(rows: list):
    """Returns a prediction for every row, in the same order.

    With ": list", rows are dicts. Delete it, and put pandas into
    requirements.txt, to get a DataFrame; return one too, or a list or an array.
    Whatever is loaded outside of this function is loaded once.
    """
    return [{"probability": probability(row)} for row in rows]


def probability(row):
    score = -2 + 0.004 * row["amount"] + COUNTRIES[row["country"]]
    return 1 / (1 + math.exp(-score))
`)
	} else {
		text.WriteString(`"""Answers the same for every row. Replace it by your own model."""

BASELINE = {
`)
		for i := range g.Predictions {
			fmt.Fprintf(&text, "    %s: %s,\n", jsonText(g.Predictions[i].Name), literal(typical(&g.Predictions[i]), pythonWords))
		}
		text.WriteString(`}


def predict(rows: list):
    """Returns a prediction for every row, in the same order.

    With ": list", rows are dicts. Delete it, and put pandas into
    requirements.txt, to get a DataFrame; return one too, or a list or an array.
    Load the model outside of this function, so that it is loaded once.
    """
    return [dict(BASELINE) for row in rows]
`)
	}
	g.add("predict.py", text.String())
}

func (g *generator) r() {
	g.yaml(`run:
  r: predict.R:score    # FILE:FUNCTION; not called predict, which would hide R's own
# Packages go into an renv.lock beside this file: ` + "`renv::snapshot()`" + ` writes it.
`)
	var text strings.Builder
	if g.sample {
		text.WriteString(`# A logistic regression by hand. Replace it by your own model.

countries <- c(at = 0, ch = 0.3, de = 0.1)

# rows is a data.frame, with the features as its columns. The answer has a row
# for each of them, in the same order. What is outside of this function, such as
# model <- readRDS("model.rds"), is done once.
score <- function(rows) {
  z <- -2 + 0.004 * rows$amount + countries[as.character(rows$country)]
  data.frame(probability = 1 / (1 + exp(-unname(z))))
}
`)
	} else {
		text.WriteString(`# Answers the same for every row. Replace it by your own model.

# rows is a data.frame, with the features as its columns. The answer has a row
# for each of them, in the same order. What is outside of this function, such as
# model <- readRDS("model.rds"), is done once.
score <- function(rows) {
  n <- nrow(rows)
  answer <- data.frame(row.names = seq_len(n))
`)
		for i := range g.Predictions {
			p := &g.Predictions[i]
			value := literal(typical(p), rWords)
			if p.Type == modelmanager.Array {
				value = "list(" + value + ")"
			}
			fmt.Fprintf(&text, "  answer[[%s]] <- rep(%s, n)\n", jsonText(p.Name), value)
		}
		text.WriteString("  answer\n}\n")
	}
	g.add("predict.R", text.String())
}

func (g *generator) java() {
	g.yaml(`build:
  command: [javac, -encoding, UTF-8, -d, classes, Model.java, ModelWorker.java]
run:
  command: [java, -XX:+UseSerialGC, -XX:TieredStopAtLevel=1, -cp, classes, Model]
`)
	var text strings.Builder
	text.WriteString(`import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** `)
	if g.sample {
		text.WriteString("A logistic regression by hand. Replace it by your own model.")
	} else {
		text.WriteString("Answers the same for every row. Replace it by your own model.")
	}
	text.WriteString(` */
public class Model {
    public static void main(String[] args) throws Exception {
        // Load the model here: once, before the first row.
        ModelWorker.run(rows -> predict(rows));
    }

    /** Returns a prediction for every row, in the same order; null refuses a row. */
    static List<Map<String, Object>> predict(List<Map<String, Object>> rows) {
        List<Map<String, Object>> answers = new ArrayList<>();
        for (Map<String, Object> row : rows) {
            answers.add(predict(row));
        }
        return answers;
    }

    static Map<String, Object> predict(Map<String, Object> row) {
        Map<String, Object> answer = new LinkedHashMap<>();
`)
	if g.sample {
		text.WriteString(`        double amount = ((Number) row.get("amount")).doubleValue();
        double score = -2 + 0.004 * amount + COUNTRIES.get((String) row.get("country"));
        answer.put("probability", 1 / (1 + Math.exp(-score)));
        return answer;
    }

    static final Map<String, Double> COUNTRIES = Map.of("at", 0.0, "ch", 0.3, "de", 0.1);
}
`)
		g.add("Model.java", text.String())
	} else {
		for i := range g.Predictions {
			value := literal(typical(&g.Predictions[i]), javaWords)
			fmt.Fprintf(&text, "        answer.put(%s, %s);\n", jsonText(g.Predictions[i].Name), value)
		}
		text.WriteString("        return answer;\n    }\n}\n")
		g.add("Model.java", text.String())
	}
	g.worker("ModelWorker.java", g.JavaWorker)
	g.add(".gitignore", "classes/\n")
}

func (g *generator) golang() {
	g.yaml(`build:
  command: [go, build, -o, model, .]
run:
  command: [./model]
`)
	var text strings.Builder
	if g.sample {
		text.WriteString(`// A logistic regression by hand. Replace it by your own model.
package main

import "math"

var countries = map[string]float64{"at": 0, "ch": 0.3, "de": 0.1}

func main() {
	// Load the model here: once, before the first row.
	Serve(predict)
}

// predict returns a prediction for every row, in the same order; nil refuses a row.
func predict(rows []map[string]any, params map[string]any) ([]map[string]any, error) {
	answers := make([]map[string]any, len(rows))
	for i, row := range rows {
		answers[i] = score(row)
	}
	return answers, nil
}

func score(row map[string]any) map[string]any {
	z := -2 + 0.004*row["amount"].(float64) + countries[row["country"].(string)]
	return map[string]any{"probability": 1 / (1 + math.Exp(-z))}
}
`)
	} else {
		text.WriteString(`// Answers the same for every row. Replace it by your own model.
package main

func main() {
	// Load the model here: once, before the first row.
	Serve(predict)
}

// predict returns a prediction for every row, in the same order; nil refuses a row.
func predict(rows []map[string]any, params map[string]any) ([]map[string]any, error) {
	answers := make([]map[string]any, len(rows))
	for i, row := range rows {
		answers[i] = score(row)
	}
	return answers, nil
}

func score(row map[string]any) map[string]any {
	return map[string]any{
`)
		for i := range g.Predictions {
			fmt.Fprintf(&text, "\t\t%s: %s,\n", jsonText(g.Predictions[i].Name), literal(typical(&g.Predictions[i]), goWords))
		}
		text.WriteString("\t}\n}\n")
	}
	g.add("main.go", text.String())
	g.add("go.mod", "module "+g.Name+"\n\ngo 1.21\n")
	g.worker("worker.go", g.GoWorker)
	g.add(".gitignore", "/model\n")
}

func (g *generator) worker(path string, data []byte) {
	if len(data) > 0 {
		g.files = append(g.files, GeneratedFile{Path: path, Data: data, Mode: 0o644})
	}
}

// words are how a language writes values.
type words struct {
	null, yes, no string
	list          [2]string
	text          func(string) string
	number        func(string) string // of one without a point
}

func same(text string) string { return text }

func quoted(text string) string { return jsonText(text) }

var (
	pythonWords = words{"None", "True", "False", [2]string{"[", "]"}, quoted, same}
	rWords      = words{"NA", "TRUE", "FALSE", [2]string{"c(", ")"}, quoted, same}
	javaWords   = words{"null", "true", "false", [2]string{"List.of(", ")"}, quoted, func(s string) string { return s + "L" }}
	goWords     = words{"nil", "true", "false", [2]string{"[]any{", "}"}, quoted, func(s string) string { return "int64(" + s + ")" }}
)

func literal(value any, w words) string {
	switch value := value.(type) {
	case nil:
		return w.null
	case bool:
		if value {
			return w.yes
		}
		return w.no
	case string:
		return w.text(value)
	case int64:
		return w.number(fmt.Sprint(value))
	case float64:
		text := jsonText(value)
		if !strings.ContainsAny(text, ".e") {
			text += ".0"
		}
		return text
	case []any:
		items := make([]string, len(value))
		for i, item := range value {
			items[i] = literal(item, w)
		}
		return w.list[0] + strings.Join(items, ", ") + w.list[1]
	}
	return w.null
}
