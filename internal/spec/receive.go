package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"modelmanager.dev"
)

// Receive reads a spec that somebody sent as JSON: the canonical form, or what
// a resolved model.yaml says. It trusts nobody: it checks as strictly as Parse,
// unknown keys included, and fills every default in. Problems have paths, but
// no positions.
func Receive(data []byte) (*Spec, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var values map[string]any
	if err := decoder.Decode(&values); err != nil || values == nil {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidSpec, "the spec is not a JSON object: %.200s", reason(err))
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidSpec, "the spec has something behind its JSON object")
	}
	for _, key := range []string{"extends", "shared"} {
		if _, found := values[key]; found {
			return nil, modelmanager.Errorf(modelmanager.CodeInvalidSpec,
				"the spec has %q, which names other folders; publish the resolved spec, as `mm publish` does", key)
		}
	}
	plainResources(values)
	dropZeroDurations(values)
	s, _, problems := interpret(jsonNode(values), false)
	if len(problems) > 0 {
		return nil, problems.named("spec")
	}
	return s, nil
}

func reason(err error) string {
	if err == nil {
		return "it is null"
	}
	return err.Error()
}

// plainResources writes resources as a model.yaml does, where they are given
// in the units of the canonical form.
func plainResources(values map[string]any) {
	resources, ok := values["resources"].(map[string]any)
	if !ok {
		return
	}
	plain := map[string]any{}
	for key, value := range resources {
		switch key {
		case "cpu_milli":
			plain["cpu"] = fmt.Sprintf("%vm", value)
		case "memory_bytes":
			plain["memory"] = value
		case "disk_bytes":
			plain["disk"] = value
		default:
			plain[key] = value
		}
	}
	values["resources"] = plain
}

// named puts a name before the problems' paths, where there is no file.
func (p Problems) named(name string) Problems {
	for i := range p {
		p[i].File = name
		if p[i].Path != "" {
			p[i].File += "." + p[i].Path
		}
	}
	return p
}

// Nearest returns the name that somebody may have meant; "" if none is near.
func Nearest(name string, names []string) string { return nearest(name, names) }
