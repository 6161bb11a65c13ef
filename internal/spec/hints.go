package spec

import (
	"fmt"
	"modelmanager.dev/internal/wording"
	"path"
	"slices"
	"strings"
	"unicode"
)

// nearest returns the name that was probably meant, or "" if none is near.
func nearest(name string, names []string) string {
	if len(name) > 200 {
		return ""
	}
	best, least := "", max(len([]rune(name))/3, 1)+1
	folded := fold(name)
	for _, candidate := range names {
		if len(candidate) > 200 {
			continue
		}
		other := fold(candidate)
		if other == folded {
			return candidate
		}
		if d := wording.Distance(folded, other, least); d < least {
			best, least = candidate, d
		}
	}
	if best == "" && len(folded) >= 4 {
		// A name within a name, if there is one such: radius for mean_radius.
		for _, candidate := range names {
			if len(candidate) > 200 || !strings.Contains(fold(candidate), folded) && !(len(candidate) >= 4 && strings.Contains(folded, fold(candidate))) {
				continue
			}
			if best != "" {
				return ""
			}
			best = candidate
		}
	}
	return best
}

// fold takes away what people confuse: case, and the marks between words.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == ' ' || r == '.' {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

func unknownKeyHint(name string, s *shape) string {
	if instead := s.wrong[name]; instead != "" {
		return instead
	}
	if instead := s.wrong[strings.ToLower(name)]; instead != "" {
		return instead
	}
	if near := nearest(name, s.names()); near != "" {
		return "did you mean `" + near + "`?"
	}
	names := s.names()
	if len(names) > 12 {
		return ""
	}
	return "the keys are " + alternativesAnd(names)
}

func alternativesAnd(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func missingHint(k *key) string {
	switch k.name {
	case "owner":
		return "write owner: team@example.org"
	case "summary":
		return "write summary: and one sentence that says what the model predicts"
	case "name":
		return "write name: …"
	case "run":
		return "write run: {python: predict.py:predict}, or r, command, http, job"
	case "examples":
		return "give one row that the model can answer: - features: {…}"
	case "type":
		return "write type: number, integer, string, boolean or array"
	case "features", "predictions":
		return "list them: - {name: …, type: number}"
	}
	return fmt.Sprintf("add `%s: …`", k.name)
}

func objectHint(n *node, s *shape) string {
	switch {
	case s.title == "a feature" && n.kind == kindText, s.title == "a prediction" && n.kind == kindText:
		return fmt.Sprintf("write - {name: %s, type: number}", shorten(n.text))
	case s.title == "items" && n.kind == kindText:
		return fmt.Sprintf("write items: {type: %s}", shorten(n.text))
	case s.title == "run" && n.kind == kindText && strings.Contains(n.text, ".py"):
		return "write run: {python: predict.py:predict}"
	case s.title == "build" && n.kind == kindText:
		return "write build: {dockerfile: Dockerfile}"
	case s.title == "rollout" && n.kind == kindText:
		return fmt.Sprintf("write rollout: {strategy: %s}", shorten(n.text))
	case n.kind == kindList && s.others != nil:
		return "write key: value, without the hyphens"
	case n.kind == kindText && strings.Contains(n.text, ":"):
		return "a space must follow the colon: `key: value`"
	}
	return ""
}

func listHint(n *node, s *shape) string {
	if n.kind == kindObject && s.item.kind == shapeObject && len(n.entries) > 0 {
		if name := s.item.key("name"); name != nil && name.required && n.get("name") == nil {
			return fmt.Sprintf("begin each with a hyphen and its name: - {name: %s, …}", shorten(n.entries[0].key.text))
		}
		return "begin each item with a hyphen"
	}
	if s.hint != nil {
		return s.hint(n)
	}
	if n.kind != kindObject && n.text != "" {
		return "write [" + shorten(n.text) + "]"
	}
	return ""
}

func booleanHint(n *node) string {
	switch strings.ToLower(n.text) {
	case "1":
		return "write true"
	case "0":
		return "write false"
	case "true", "false":
		return "take the quotes off: " + strings.ToLower(n.text)
	case "yes", "y", "on", "t":
		return "write true; in YAML 1.2, yes and on are text"
	case "no", "n", "off", "f":
		return "write false; in YAML 1.2, no and off are text"
	}
	return ""
}

func numberHint(n *node) string {
	switch {
	case n.kind == kindText && n.quoted && (integerText.MatchString(n.text) || numberText.MatchString(n.text)):
		return "take the quotes off: " + n.text
	case n.kind == kindText && looksLikeDate(n.text):
		return "dates have no numeric bounds here"
	case n.kind == kindText && numberText.MatchString(strings.Replace(n.text, ",", ".", 1)):
		return "the decimal mark is a point: " + strings.Replace(n.text, ",", ".", 1)
	case n.kind == kindText && strings.HasSuffix(n.text, "%"):
		return "write a share, 0.25 for 25%, or the plain number"
	}
	return ""
}

func shareHint(limit float64, n *node) string {
	if limit == 1 && n.number <= 100 {
		return fmt.Sprintf("a share of all is meant: %v for %s%%", n.number/100, n.text)
	}
	return ""
}

// oddHint explains a scalar that YAML readers disagree about.
func oddHint(n *node, s *shape) string {
	lower := strings.ToLower(n.text)
	if strings.HasSuffix(lower, "inf") || strings.HasSuffix(lower, "nan") {
		return "NaN and infinities are not numbers here; use null, or leave a bound out"
	}
	if s != nil && s.kind == shapeText {
		return fmt.Sprintf("put it in quotes: %q", n.text)
	}
	return fmt.Sprintf("if it is text, put it in quotes: %q; if it is a number, write it without leading zeros and underscores", n.text)
}

func looksLikeDate(text string) bool {
	return len(text) >= 10 && text[4] == '-' && text[7] == '-' && text[0] >= '0' && text[0] <= '9'
}

func nameHint(n *node) string {
	var slug strings.Builder
	for _, r := range strings.ToLower(n.text) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			slug.WriteRune(r)
		case slug.Len() > 0 && !strings.HasSuffix(slug.String(), "-"):
			slug.WriteByte('-')
		}
	}
	name := slug.String()
	name = strings.Trim(name[:min(len(name), 40)], "-")
	if name == "" || name == n.text {
		return ""
	}
	return "did you mean " + name + "?"
}

func typeHint(n *node) string {
	switch strings.ToLower(strings.TrimSpace(n.text)) {
	case "float", "float64", "float32", "double", "numeric", "real", "decimal", "num", "numerical", "continuous":
		return "write number"
	case "int", "int32", "long", "bigint", "int16", "int8", "uint8", "count":
		return "write integer"
	case "int64":
		return "write integer; beyond ±2^53 with format: int64"
	case "str", "text", "varchar", "char", "character", "object", "utf8":
		return "write string"
	case "category", "categorical", "factor", "enum", "nominal", "ordinal":
		return "write string, and list the values under enum"
	case "bool", "logical", "binary":
		return "write boolean"
	case "date":
		return "write type: string with format: date"
	case "datetime", "date-time", "timestamp", "time", "datetime64", "posixct":
		return "write type: string with format: date-time"
	case "list", "vector", "tuple", "tensor", "matrix", "embedding":
		return "write array, with items and length"
	}
	return ""
}

func formatHint(n *node) string {
	switch strings.ToLower(n.text) {
	case "datetime", "timestamp", "date_time":
		return "write date-time"
	case "email", "uri", "uuid", "time":
		return "use a pattern instead"
	case "int32", "float", "double":
		return "delete it"
	}
	return ""
}

func unknownHint(n *node) string {
	if n.text == "reject" || n.text == "error" {
		return "delete it: rows with unknown values are rejected by default"
	}
	return ""
}

func callHint(extension string) func(*node) string {
	return func(n *node) string {
		text := strings.TrimSpace(n.text)
		file, function, found := strings.Cut(text, ":")
		switch {
		case !found && strings.EqualFold(path.Ext(file), extension):
			return "name the function too: " + file + ":predict"
		case found && path.Ext(file) == "" && function != "":
			return "write the file's name: " + strings.ReplaceAll(file, ".", "/") + extension + ":" + function
		case found && strings.HasSuffix(function, "()"):
			return "without the brackets: " + strings.TrimSuffix(text, "()")
		case !found && strings.Count(text, ".") == 1 && text != "":
			file, function, _ = strings.Cut(text, ".")
			return "did you mean " + file + extension + ":" + function + "?"
		}
		return "write predict" + extension + ":predict"
	}
}

func commandHint(n *node) string {
	if n.kind == kindText {
		words := strings.Fields(n.text)
		if len(words) > 0 && len(words) < 12 && !slices.ContainsFunc(words, func(w string) bool { return strings.ContainsAny(w, "\"'|&;<>$`,[]{}#") }) {
			return "write each word by itself: [" + strings.Join(words, ", ") + "]"
		}
		return "write each word by itself, or [sh, -c, \"…\"] for a shell"
	}
	return ""
}

func networkHint(n *node) string {
	text := n.text
	_, text, _ = strings.Cut("://"+text, "://")
	if i := strings.Index(n.text, "://"); i >= 0 {
		text = n.text[i+3:]
		text, _, _ = strings.Cut(text, "/")
		if !strings.Contains(text, ":") && strings.HasPrefix(n.text, "https") {
			text += ":443"
		}
		return "did you mean " + text + "?"
	}
	if !strings.Contains(text, ":") {
		return "name the port: " + text + ":443"
	}
	return ""
}

func imageHint(n *node) string {
	if !strings.Contains(n.text, "@") {
		return "a tag can move; `docker inspect --format '{{index .RepoDigests 0}}' " + shorten(n.text) + "` tells the digest"
	}
	return ""
}

func hashHint(n *node) string {
	text := strings.ToLower(strings.TrimPrefix(strings.TrimSpace(n.text), "sha256:"))
	if len(text) == 64 && text != n.text {
		return "write " + text
	}
	return "`sha256sum FILE` tells it"
}
