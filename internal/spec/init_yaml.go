package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"modelmanager.dev"
)

func raw(pairs ...string) map[string]json.RawMessage {
	values := map[string]json.RawMessage{}
	for pair := range slices.Chunk(pairs, 2) {
		values[pair[0]] = json.RawMessage(pair[1])
	}
	return values
}

// yaml writes the model.yaml; run has the lines that depend on the language.
func (g *generator) yaml(run string) {
	var text strings.Builder
	text.WriteString("# `mm validate` checks this file and runs the examples; `mm schema` prints its JSON Schema for editors.\n")
	fmt.Fprintf(&text, "name: %s\nsummary: %s\nowner: %s    # who answers for the model\n\n", yamlText(g.Name), yamlText(g.Summary), yamlText(g.Owner))
	text.WriteString("# The inputs, in the order in which predict gets them. Add minimum, maximum, unit and description where you know\n# them: they are checked, and shown to the people who fill them in. nullable: true allows null.\nfeatures:\n")
	for i := range g.Features {
		yamlField(&text, &g.Features[i])
	}
	text.WriteString("\n# The outputs.\npredictions:\n")
	for i := range g.Predictions {
		yamlField(&text, &g.Predictions[i])
	}
	text.WriteString("\n" + run + "\n")
	text.WriteString("# How much a worker may use, and what is published how; these are the defaults.\n# resources: {cpu: 500m, memory: 512Mi, disk: 1Gi}\n# timeouts: {start: 60s, predict: 30s}\n# rollout: {strategy: immediate}\n\n")
	text.WriteString("# Rows that the model must be able to answer; with predictions, what it must answer.\nexamples:\n")
	for _, example := range g.examples() {
		g.yamlExample(&text, example)
	}
	g.files = append([]GeneratedFile{{Path: fileName, Data: []byte(text.String()), Mode: 0o644}}, g.files...)
}

// examples returns those there are, or makes one up.
func (g *generator) examples() []Example {
	if len(g.Examples) > 0 {
		return g.Examples
	}
	row := map[string]json.RawMessage{}
	for i := range g.Features {
		row[g.Features[i].Name] = json.RawMessage(jsonText(typical(&g.Features[i])))
	}
	return []Example{{Features: row}}
}

func (g *generator) yamlExample(text *strings.Builder, example Example) {
	text.WriteString("  - features:\n")
	for _, f := range g.Features {
		if value, ok := example.Features[f.Name]; ok {
			fmt.Fprintf(text, "      %s: %s\n", yamlText(f.Name), yamlJSON(value))
		}
	}
	if len(example.Predictions) == 0 {
		return
	}
	var values []string
	for _, p := range g.Predictions {
		if value, ok := example.Predictions[p.Name]; ok {
			values = append(values, yamlText(p.Name)+": "+yamlJSON(value))
		}
	}
	if !g.sample {
		fmt.Fprintf(text, "    # predictions: {%s}    # what the data says; enable it when predict is your own\n", strings.Join(values, ", "))
		return
	}
	fmt.Fprintf(text, "    predictions: {%s}\n", strings.Join(values, ", "))
	if example.Tolerance > 0 {
		fmt.Fprintf(text, "    tolerance: %s\n", jsonText(example.Tolerance))
	}
}

// yamlField writes a field on one line, or on several where it is long.
func yamlField(text *strings.Builder, f *modelmanager.Field) {
	const width = 110
	pairs := fieldPairs(f)
	line := "  - {" + strings.Join(pairs, ", ") + "}"
	if len([]rune(line)) <= width {
		text.WriteString(line + "\n")
		return
	}
	for i, pair := range pairs {
		lead := "    "
		if i == 0 {
			lead = "  - "
		}
		if len([]rune(pair)) > width && strings.HasPrefix(pair, "enum: [") {
			text.WriteString(lead + "enum:\n" + wrapped(f.Enum, width))
			continue
		}
		text.WriteString(lead + pair + "\n")
	}
}

// wrapped writes a long enum in lines.
func wrapped(values []any, width int) string {
	var text strings.Builder
	line := "      ["
	for i, value := range values {
		item := yamlJSON([]byte(jsonText(value)))
		if i < len(values)-1 {
			item += ", "
		}
		if len([]rune(line+item)) > width && strings.TrimSpace(line) != "[" {
			text.WriteString(strings.TrimRight(line, " ") + "\n")
			line = "       "
		}
		line += item
	}
	text.WriteString(line + "]\n")
	return text.String()
}

// fieldPairs writes a field's keys and values, those that matter most first.
func fieldPairs(f *modelmanager.Field) []string {
	data, err := json.Marshal(f)
	if err != nil {
		return nil
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(data, &values); err != nil {
		return nil
	}
	order := []string{"name", "type", "format", "items", "length", "max_items", "labels", "enum", "unknown",
		"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
		"nullable", "optional", "default", "unit", "description"}
	var pairs []string
	for _, key := range order {
		if value, ok := values[key]; ok {
			pairs = append(pairs, key+": "+yamlJSON(value))
		}
	}
	return pairs
}

// yamlJSON writes a JSON value in YAML's flow style.
func yamlJSON(data []byte) string {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return "null"
	}
	return yamlValue(value)
}

func yamlValue(value any) string {
	switch value := value.(type) {
	case string:
		return yamlText(value)
	case []any:
		items := make([]string, len(value))
		for i, item := range value {
			items[i] = yamlValue(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]any:
		var items []string
		for _, key := range sortedKeys(value) {
			items = append(items, yamlText(key)+": "+yamlValue(value[key]))
		}
		return "{" + strings.Join(items, ", ") + "}"
	}
	return jsonText(value)
}

var (
	plainText = regexp.MustCompile(`^[\p{L}](?:[\p{L}0-9 _./@;()%+-]|, )*$`)
	boolWords = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}
)

// yamlText writes a text, in quotes where any YAML reader could take it for
// something else.
func yamlText(text string) string {
	plain := plainText.MatchString(text) && strings.TrimSpace(text) == text && len(text) < 200 && !strings.Contains(text, " -") &&
		!slices.Contains(boolWords, strings.ToLower(text)) && plainScalar(text, place{}).kind == kindText
	if plain && !strings.Contains(text, ",") {
		return text
	}
	return jsonText(text)
}

func jsonText(value any) string {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "null"
	}
	return strings.TrimSuffix(text.String(), "\n")
}
