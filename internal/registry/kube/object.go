package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

// metadata is what is read of an object's metadata.
type metadata struct {
	Name              string            `json:"name"`
	UID               string            `json:"uid,omitempty"`
	Annotations       map[string]string `json:"annotations,omitempty"`
	ResourceVersion   string            `json:"resourceVersion,omitempty"`
	CreationTimestamp string            `json:"creationTimestamp,omitempty"`
	ManagedFields     json.RawMessage   `json:"managedFields,omitempty"`
}

// modelObject is a Model.
type modelObject struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Metadata   metadata  `json:"metadata"`
	Spec       modelSpec `json:"spec"`

	record *record // of the spec, where it has been read already
}

// modelSpec is a Model's spec; crds/models.yaml says what its fields mean.
type modelSpec struct {
	Summary    string   `json:"summary,omitempty"`
	Owner      string   `json:"owner,omitempty"`
	Repository string   `json:"repository,omitempty"`
	Traffic    string   `json:"traffic,omitempty"`
	Shadow     int      `json:"shadow,omitempty"`
	Latest     int      `json:"latest,omitempty"`
	Retired    *retired `json:"retired,omitempty"`
	Record     string   `json:"record,omitempty"` // a record, as JSON
}

// record is what no other tool sets of a model, and no column shows.
type record struct {
	Labels  map[string]string   `json:"labels,omitempty"`
	Serve   []modelmanager.Mode `json:"serve,omitempty"`
	Created string              `json:"created,omitempty"`
	History []string            `json:"history,omitempty"` // settings, newest first

	Dropped  modelmanager.Numbers `json:"dropped,omitempty"`
	Dropping modelmanager.Numbers `json:"dropping,omitempty"`
}

type retired struct {
	At     string `json:"at"`
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// newModelSpec writes a model down.
func newModelSpec(model modelmanager.Model) (modelSpec, error) {
	kept := record{Labels: model.Labels, Serve: model.Serve, Dropped: model.Dropped, Dropping: model.Dropping}
	if !model.Created.IsZero() {
		kept.Created = formatTime(model.Created)
	}
	for _, setting := range model.History {
		kept.History = append(kept.History, formatSetting(setting))
	}
	text, err := json.Marshal(kept)
	if err != nil {
		return modelSpec{}, modelmanager.Errorf(modelmanager.CodeInternal, "writing model %s: %w", model.Name, err)
	}
	spec := modelSpec{
		Summary:    model.Summary,
		Owner:      model.Owner,
		Repository: model.Repository,
		Traffic:    formatShares(model.Traffic().Versions),
		Shadow:     model.Traffic().Shadow,
		Latest:     model.Latest,
		Record:     string(text),
	}
	if model.Retired != nil {
		spec.Retired = &retired{At: formatTime(model.Retired.At), By: model.Retired.By, Reason: model.Retired.Reason}
	}
	return spec, nil
}

// model makes the model that an object stands for.
func (o *modelObject) model() (modelmanager.Model, []string) {
	var problems []string
	check := func(field string, err error) {
		if err != nil {
			problems = append(problems, "spec."+field+": "+err.Error())
		}
	}
	model := modelmanager.Model{
		Name:       o.Metadata.Name,
		Summary:    o.Spec.Summary,
		Owner:      o.Spec.Owner,
		Repository: o.Spec.Repository,
		Latest:     max(o.Spec.Latest, 0),
	}
	model.Created, _ = parseTime(o.Metadata.CreationTimestamp)
	kept, err := o.readRecord()
	check("record", err)
	check("record", addRecord(&model, kept))
	check("traffic", o.addCurrent(&model))
	if o.Spec.Retired != nil {
		at, err := parseTime(o.Spec.Retired.At)
		check("retired.at", err)
		model.Retired = &modelmanager.Change{By: o.Spec.Retired.By, At: at, Reason: o.Spec.Retired.Reason}
	}
	for _, share := range model.Traffic().Versions {
		if share.Version > model.Latest {
			check("traffic", fmt.Errorf("it names version %d, and the latest is %d", share.Version, model.Latest))
		}
	}
	return model, problems
}

func (o *modelObject) readRecord() (*record, error) {
	if o.record != nil {
		return o.record, nil
	}
	kept := &record{}
	if o.Spec.Record == "" {
		return kept, nil
	}
	return kept, json.Unmarshal([]byte(o.Spec.Record), kept)
}

// addRecord adds what a record says, as far as it makes sense.
func addRecord(model *modelmanager.Model, kept *record) error {
	var problems []error
	model.Labels = kept.Labels
	model.Dropped, model.Dropping = kept.Dropped, kept.Dropping
	model.Serve = make([]modelmanager.Mode, 0, len(kept.Serve))
	model.History = make([]modelmanager.Traffic, 0, len(kept.History)+1)
	for _, mode := range kept.Serve {
		if (mode == modelmanager.RealTime || mode == modelmanager.Batch) && !slices.Contains(model.Serve, mode) {
			model.Serve = append(model.Serve, mode)
		} else {
			problems = append(problems, fmt.Errorf("%.40q is no way to ask a model, or named twice", string(mode)))
		}
	}
	if kept.Created != "" {
		created, err := parseTime(kept.Created)
		if err == nil {
			model.Created = created
		}
		problems = append(problems, err)
	}
	for _, text := range kept.History {
		setting, err := parseSetting(text)
		if err == nil {
			model.History = append(model.History, setting)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// addCurrent puts the setting in force at the head of the history where
// somebody has set it past Model Manager.
func (o *modelObject) addCurrent(model *modelmanager.Model) error {
	shares, err := parseShares(o.Spec.Traffic)
	if err != nil {
		return err // the last setting known stays in force
	}
	if last := model.Traffic(); slices.Equal(last.Versions, shares) && last.Shadow == max(o.Spec.Shadow, 0) {
		return nil
	}
	by, at := o.Metadata.lastWriter("traffic")
	if last := model.Traffic().At; !at.After(last) {
		at = last.Add(time.Microsecond)
	}
	model.History = slices.Insert(model.History, 0, modelmanager.Traffic{
		Versions: shares, Shadow: max(o.Spec.Shadow, 0), By: by, At: at, Reason: "set in the cluster's object",
	})
	return nil
}

// managedField is an entry of an object's managed fields.
type managedField struct {
	Manager   string
	Operation string
	Time      string
	FieldsV1  struct {
		Spec map[string]json.RawMessage `json:"f:spec"`
	}
	Subresource string
}

func (m *metadata) managed() []managedField {
	var entries []managedField
	if len(m.ManagedFields) > 0 {
		_ = json.Unmarshal(m.ManagedFields, &entries) // the apiserver's own writing
	}
	return entries
}

// lastWriter returns who beside Model Manager last wrote a field of the spec,
// and when.
func (m *metadata) lastWriter(field string) (by string, at time.Time) {
	by, at = "somebody with access to the cluster", time.Time{}
	for _, entry := range m.managed() {
		if _, owns := entry.FieldsV1.Spec["f:"+field]; !owns || entry.Manager == Manager {
			continue
		}
		if written, err := parseTime(entry.Time); err == nil && written.After(at) {
			by, at = entry.Manager, written
		}
	}
	return by, at
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// declared returns the fields of the spec that a tool beside Model Manager
// applies, and would set back, each with the tool's name. What was written by
// hand or restored from a backup isn't among them.
func (m *metadata) declared() map[string]string {
	var fields map[string]string
	declare := func(field, tool string) {
		if fields == nil {
			fields = map[string]string{}
		}
		fields[field] = tool
	}
	if text, found := m.Annotations[lastApplied]; found {
		var applied struct{ Spec map[string]json.RawMessage }
		if json.Unmarshal([]byte(text), &applied) == nil {
			for field := range applied.Spec {
				declare(field, "kubectl apply")
			}
		}
	}
	if bytes.Contains(m.ManagedFields, []byte(`"Apply"`)) {
		for _, entry := range m.managed() {
			if entry.Operation != "Apply" || entry.Manager == Manager || entry.Subresource != "" {
				continue
			}
			for field := range entry.FieldsV1.Spec {
				if len(field) > 2 && field[:2] == "f:" {
					declare(field[2:], entry.Manager)
				}
			}
		}
	}
	return fields
}

// shared marks the revision of an object that another tool applies too.
const shared = "+"

// revision returns an object's revision: its resource version, its UID, and
// whether PutModel must look at the object before it writes.
func (o *modelObject) revision() registry.Revision {
	revision := o.Metadata.ResourceVersion + "/" + o.Metadata.UID
	if len(o.Metadata.declared()) > 0 {
		revision += shared
	}
	return registry.Revision(revision)
}

// parseRevision reads what revision wrote.
func parseRevision(revision registry.Revision) (of metadata, isShared bool) {
	text, isShared := strings.CutSuffix(string(revision), shared)
	of.ResourceVersion, of.UID, _ = strings.Cut(text, "/")
	return of, isShared
}
