package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"modelmanager.dev"
)

// maxCanonical is how large a published spec may be.
const maxCanonical = 256 << 10

// Parse reads one model.yaml by itself, fills every default in and checks all
// that can be told without its folder. Of a file with `extends`, what lies in
// the template is not known: then nothing is missed, and what is there is
// checked. The error is of type Problems; file is its name in them.
func Parse(file string, data []byte) (*Spec, error) {
	root, twice := readTree(file, data)
	if root == nil {
		return nil, twice
	}
	s, _, problems := interpret(root, root.get("extends") != nil)
	if problems = ordered(append(twice, problems...)); len(problems) > 0 {
		return nil, problems
	}
	return s, nil
}

// Head is what a model.yaml says about itself and the folders it is made of.
type Head struct {
	Name    string   // "" in a template
	Extends string   // as written, relative to the file's folder
	Shared  []string // as written
}

// ParseHead reads just that, without checking the rest: enough to tell which
// models a changed folder belongs to.
func ParseHead(file string, data []byte) (Head, error) {
	root, problems := readTree(file, data)
	if root == nil {
		return Head{}, problems
	}
	head := Head{}
	if n := root.get("name"); n != nil && n.kind == kindText {
		head.Name = n.text
	}
	if n := root.get("extends"); n != nil && n.kind == kindText {
		head.Extends = n.text
	}
	if n := root.get("shared"); n != nil {
		for _, item := range n.items {
			head.Shared = append(head.Shared, item.text)
		}
	}
	return head, nil
}

// Check checks a spec that came from elsewhere than Parse or LoadFolder, from
// a published version or a client, as strictly. Its problems have paths, but
// no positions.
func (s *Spec) Check() error {
	root, err := s.tree()
	if err != nil {
		return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "checking a spec: %w", err)
	}
	if _, _, problems := interpret(root, false); len(problems) > 0 {
		return problems.named("spec")
	}
	return nil
}

// tree writes a spec as the tree of the model.yaml that means it.
func (s *Spec) tree() (*node, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.UseNumber()
	var values map[string]any
	if err := decoder.Decode(&values); err != nil {
		return nil, err
	}
	values["resources"] = map[string]any{
		"cpu":    fmt.Sprintf("%dm", s.Resources.CPU),
		"memory": json.Number(fmt.Sprint(s.Resources.Memory)),
		"disk":   json.Number(fmt.Sprint(s.Resources.Disk)),
	}
	dropZeroDurations(values)
	return jsonNode(values), nil
}

// dropZeroDurations takes out durations that are not set: omitempty doesn't
// work on a type with a text form.
func dropZeroDurations(values map[string]any) {
	for key, value := range values {
		switch value := value.(type) {
		case map[string]any:
			if key == "rollout" || key == "back_when" {
				dropZeroDurations(value)
			}
		case string:
			if value == "0s" {
				delete(values, key)
			}
		}
	}
}

// interpret checks a tree and makes a spec of it. With base, what lacks is not
// missed. The spec is to be used only if there are no problems.
func interpret(root *node, base bool) (*Spec, *checker, Problems) {
	c := &checker{root: root, base: base}
	values, _ := c.shaped(root, modelShape, nil).(map[string]any)
	delete(values, "extends")
	delete(values, "shared")
	s := new(Spec)
	data, err := json.Marshal(values)
	if err == nil {
		err = json.Unmarshal(data, s)
	}
	if err != nil {
		c.report(root.at, nil, "the file can't be read as a spec: "+err.Error(), "")
		return s, c, ordered(c.problems)
	}
	c.spec = s
	c.semantics()
	s.fillDefaults()
	if text, err := s.Canonical(); err == nil && len(text) > maxCanonical {
		c.report(root.at, nil, fmt.Sprintf("the spec has %d KiB; at most %d KiB can be published", (len(text)+1023)>>10, maxCanonical>>10),
			"move long lists into files of the folder, and examples into tests")
	}
	return s, c, ordered(c.problems)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// fillDefaults makes a spec complete. It is idempotent.
func (s *Spec) fillDefaults() {
	if len(s.Serve) == 0 {
		s.Serve = []modelmanager.Mode{modelmanager.RealTime, modelmanager.Batch}
		if s.Run.Job != nil {
			s.Serve = []modelmanager.Mode{modelmanager.Batch}
		}
	}
	orElse(&s.Rows, Independent)
	for i := range s.Features {
		completeField(&s.Features[i])
	}
	for i := range s.Predictions {
		completeField(&s.Predictions[i])
	}
	if http := s.Run.HTTP; http != nil {
		orElse(&http.Ready, "/healthz")
		orElse(&http.Path, "/invocations")
		orElse(&http.Format, "rows")
	}
	orElse(&s.Resources.CPU, 500)
	orElse(&s.Resources.Memory, 512<<20)
	orElse(&s.Resources.Disk, 1<<30)
	orElse(&s.Timeouts.Start, Duration(time.Minute))
	orElse(&s.Timeouts.Predict, Duration(30*time.Second))
	orElse(&s.Scale.Max, max(10, s.Scale.Min))
	orElse(&s.Scale.Concurrency, 8)
	orElse(&s.Scale.Idle, Duration(10*time.Minute))
	orElse(&s.Batch.RowsPerShard, 100000)
	orElse(&s.Batch.RowsPerCall, 10000)
	orElse(&s.Batch.Parallelism, 20)
	orElse(&s.Batch.Timeout, Duration(2*time.Hour))
	orElse(&s.Rollout.Strategy, "immediate")
	if s.Rollout.Strategy == "canary" {
		orElse(&s.Rollout.Pause, Duration(5*time.Minute))
	}
}

func orElse[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// completeField writes out what a field implies: labels give the length, and
// a null default makes the column one that has nulls.
func completeField(f *modelmanager.Field) {
	if f.Length == nil && f.MaxItems == nil && len(f.Labels) > 0 {
		length := len(f.Labels)
		f.Length = &length
	}
	if f.Default != nil && f.Default.Value == nil {
		f.Nullable = true
	}
}
