package kube

import (
	"encoding/json"
	"unsafe"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

// view reads bytes as a string while nobody changes them.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// readModel reads a Model. Whatever can't be read of it is left out and told:
// somebody may have written it by hand, and a model that is shown in part can
// be repaired.
func readModel(data []byte) (modelmanager.Model, registry.Revision, []string) {
	var o modelObject
	if decodeModel(data, &o) == nil {
		model, problems := o.model()
		return model, o.revision(), problems
	}
	var problems []string
	o = modelObject{}
	if err := json.Unmarshal(data, &o); err != nil { // it goes on behind a value of the wrong type
		problems = append(problems, err.Error())
	}
	model, more := o.model()
	return model, o.revision(), append(problems, more...)
}

// decodeModel reads a Model as Model Manager writes it, and fails on any other.
// The managed fields that it finds are part of data.
func decodeModel(data []byte, o *modelObject) error {
	c := &cursor{data: data}
	c.fields(func(key string) {
		switch key {
		case "metadata":
			c.metadata(&o.Metadata)
		case "spec":
			c.spec(o)
		default:
			c.skip()
		}
	})
	return c.end()
}

func (c *cursor) metadata(m *metadata) {
	c.fields(func(key string) {
		switch key {
		case "name":
			m.Name = c.text()
		case "uid":
			m.UID = c.text()
		case "resourceVersion":
			m.ResourceVersion = c.text()
		case "creationTimestamp":
			m.CreationTimestamp = c.text()
		case "managedFields":
			m.ManagedFields = c.raw()
		case "annotations":
			m.Annotations = c.texts(m.Annotations)
		default:
			c.skip()
		}
	})
}

// texts reads an object of strings, unless it was read before.
func (c *cursor) texts(before map[string]string) map[string]string {
	if before != nil {
		c.fail()
	}
	texts := map[string]string{}
	c.fields(func(key string) { texts[string([]byte(key))] = c.text() })
	return texts
}

func (c *cursor) spec(o *modelObject) {
	spec := &o.Spec
	c.fields(func(key string) {
		switch key {
		case "summary":
			spec.Summary = c.text()
		case "owner":
			spec.Owner = c.text()
		case "repository":
			spec.Repository = c.text()
		case "traffic":
			spec.Traffic = c.text()
		case "shadow":
			spec.Shadow = c.number()
		case "latest":
			spec.Latest = c.number()
		case "record":
			text := c.bytes()
			o.record, spec.Record = new(record), ""
			if decodeRecord(text, o.record) != nil {
				o.record = nil
				spec.Record = string(text)
			}
		case "retired":
			if err := json.Unmarshal(c.raw(), &spec.Retired); err != nil {
				c.fail()
			}
		default:
			c.skip()
		}
	})
}

// decodeRecord reads a record as Model Manager writes it, and fails on any other.
func decodeRecord(data []byte, kept *record) error {
	c := &cursor{data: data}
	c.fields(func(key string) {
		switch key {
		case "labels":
			kept.Labels = c.texts(kept.Labels)
		case "serve":
			kept.Serve = make([]modelmanager.Mode, 0, 2)
			c.items(func() { kept.Serve = append(kept.Serve, modeOf(view(c.bytes()))) })
		case "created":
			kept.Created = c.text()
		case "history":
			kept.History = make([]string, 0, 4)
			c.items(func() { kept.History = append(kept.History, c.text()) })
		case "dropped", "dropping":
			c.skip() // an index needs neither
		default:
			c.fail()
		}
	})
	return c.end()
}

// modeOf returns a mode without a copy of its name.
func modeOf(name string) modelmanager.Mode {
	switch name {
	case string(modelmanager.RealTime):
		return modelmanager.RealTime
	case string(modelmanager.Batch):
		return modelmanager.Batch
	default:
		return modelmanager.Mode([]byte(name))
	}
}
