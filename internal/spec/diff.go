package spec

import (
	"encoding/json"
	"fmt"
	"slices"

	"modelmanager.dev"
	"modelmanager.dev/internal/wording"
)

// Change is one difference between two specs, in a plain sentence.
type Change struct {
	Kind     ChangeKind `json:"kind"`
	Path     string     `json:"path"` // features.mean_radius.minimum, resources.memory
	Breaking bool       `json:"breaking"`
	Message  string     `json:"message"`
}

// ChangeKind says what kind of change it is.
type ChangeKind string

// Kinds of changes. Narrowed and widened are about the values that are
// allowed; changed is everything else.
const (
	Added     ChangeKind = "added"
	Removed   ChangeKind = "removed"
	Retyped   ChangeKind = "retyped"
	Narrowed  ChangeKind = "narrowed"
	Widened   ChangeKind = "widened"
	Changed   ChangeKind = "changed"
	Reordered ChangeKind = "reordered"
)

// Changes are all differences, in the order of a model.yaml.
type Changes []Change

// Breaking tells whether any change can break a caller: a call or a file that
// was right before and is refused now, or an answer that it can't expect.
func (c Changes) Breaking() bool {
	return slices.ContainsFunc(c, func(change Change) bool { return change.Breaking })
}

// Diff tells what changed between two versions' specs. The same two specs
// always give the same changes.
func Diff(from, to *Spec) Changes {
	d := &differ{files: slices.Contains(from.Serve, modelmanager.Batch) && slices.Contains(to.Serve, modelmanager.Batch)}
	d.other("name", from.Name, to.Name)
	d.other("summary", from.Summary, to.Summary)
	d.other("owner", from.Owner, to.Owner)
	d.other("labels", from.Labels, to.Labels)
	d.other("card", from.Card, to.Card)
	d.serve(from.Serve, to.Serve)
	d.other("rows", from.Rows, to.Rows)
	d.fields("feature", from.Features, to.Features)
	d.fields("prediction", from.Predictions, to.Predictions)
	d.other("run", from.Run, to.Run)
	d.other("build", from.Build, to.Build)
	d.fetched(from.Files, to.Files)
	d.free("params", from.Params, to.Params)
	d.other("env", from.Env, to.Env)
	d.other("secrets", from.Secrets, to.Secrets)
	d.other("network", from.Network, to.Network)
	d.other("identity", from.Identity, to.Identity)
	d.sections(from, to)
	d.free("training", from.Training, to.Training)
	d.other("examples", from.Examples, to.Examples)
	return d.changes
}

type differ struct {
	changes Changes
	files   bool // both versions take files
}

func (d *differ) add(kind ChangeKind, breaking bool, path, format string, args ...any) {
	d.changes = append(d.changes, Change{Kind: kind, Path: path, Breaking: breaking, Message: fmt.Sprintf(format, args...)})
}

// other reports values that differ, whole if they are short.
func (d *differ) other(path string, from, to any) {
	before, after := compact(from), compact(to)
	switch {
	case before == after:
	case isNothing(before):
		d.add(Added, false, path, "the key %s is new: %s", path, clip(after))
	case isNothing(after):
		d.add(Removed, false, path, "the key %s was removed; it was %s", path, clip(before))
	case len(before)+len(after) <= 160:
		d.add(Changed, false, path, "%s changed from %s to %s", path, before, after)
	default:
		d.add(Changed, false, path, "%s changed", path)
	}
}

func isNothing(text string) bool {
	return text == "null" || text == `""` || text == "{}" || text == "[]" || text == ""
}

func clip(text string) string { return wording.Shorten(text, 120) }

// compact writes a value as JSON; texts that map keys sort are stable.
func compact(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(data)
}

// free compares two maps of the user's own, key by key.
func (d *differ) free(path string, from, to map[string]any) {
	keys := append(sortedKeys(from), sortedKeys(to)...)
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		before, was := from[key]
		after, is := to[key]
		inner := path + "." + key
		switch {
		case !was:
			d.add(Added, false, inner, "%s is new: %s", inner, clip(compact(after)))
		case !is:
			d.add(Removed, false, inner, "%s was removed; it was %s", inner, clip(compact(before)))
		default:
			left, mapped := before.(map[string]any)
			right, both := after.(map[string]any)
			if mapped && both {
				d.free(inner, left, right)
			} else if compact(before) != compact(after) {
				d.add(Changed, false, inner, "%s changed from %s to %s", inner, clip(compact(before)), clip(compact(after)))
			}
		}
	}
}

func (d *differ) serve(from, to []modelmanager.Mode) {
	words := map[modelmanager.Mode]string{modelmanager.RealTime: "real-time calls", modelmanager.Batch: "jobs"}
	for _, mode := range []modelmanager.Mode{modelmanager.RealTime, modelmanager.Batch} {
		was, is := slices.Contains(from, mode), slices.Contains(to, mode)
		if was && !is {
			d.add(Removed, true, "serve", "the model no longer serves %s", words[mode])
		}
		if !was && is {
			d.add(Added, false, "serve", "the model now serves %s too", words[mode])
		}
	}
}

func (d *differ) fetched(from, to []File) {
	byPath := map[string]File{}
	for _, file := range from {
		byPath[file.Path] = file
	}
	for _, file := range to {
		before, was := byPath[file.Path]
		delete(byPath, file.Path)
		path := "files." + file.Path
		switch {
		case !was:
			d.add(Added, false, path, "the file %s is new", file.Path)
		case before.SHA256 != file.SHA256:
			d.add(Changed, false, path, "the file %s has other content", file.Path)
		case before.URI != file.URI:
			d.add(Changed, false, path, "the file %s comes from %s instead of %s", file.Path, file.URI, before.URI)
		}
	}
	for _, path := range sortedKeys(byPath) {
		d.add(Removed, false, "files."+path, "the file %s was removed", path)
	}
}

func (d *differ) sections(from, to *Spec) {
	d.other("resources.cpu", cores(from.Resources.CPU), cores(to.Resources.CPU))
	d.other("resources.memory", bytesText(from.Resources.Memory), bytesText(to.Resources.Memory))
	d.other("resources.disk", bytesText(from.Resources.Disk), bytesText(to.Resources.Disk))
	d.other("timeouts.start", from.Timeouts.Start, to.Timeouts.Start)
	d.other("timeouts.predict", from.Timeouts.Predict, to.Timeouts.Predict)
	d.other("scale", from.Scale, to.Scale)
	d.other("batch", from.Batch, to.Batch)
	d.other("rollout", from.Rollout, to.Rollout)
}

func cores(milli int64) string {
	if milli%1000 == 0 {
		return fmt.Sprint(milli / 1000)
	}
	return fmt.Sprintf("%dm", milli)
}

// bytesText writes a size as Kubernetes does, exactly.
func bytesText(size int64) string {
	for _, unit := range []string{"Ti", "Gi", "Mi", "Ki", "T", "G", "M", "k"} {
		if by := quantityUnit[unit]; size >= by && size%by == 0 {
			return fmt.Sprintf("%d%s", size/by, unit)
		}
	}
	return fmt.Sprint(size)
}
