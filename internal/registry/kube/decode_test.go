package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
	kubejson "sigs.k8s.io/json"

	"modelmanager.dev"
)

// sampleObject is a Model as an apiserver writes it.
func sampleObject(t testing.TB, model modelmanager.Model) []byte {
	t.Helper()
	spec, err := newModelSpec(model)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(modelObject{
		APIVersion: group + "/" + version, Kind: "Model",
		Metadata: metadata{
			Name: model.Name, UID: "9f6c", ResourceVersion: "4711", CreationTimestamp: "2026-03-14T15:09:26Z",
			ManagedFields: json.RawMessage(`[{"apiVersion":"modelmanager.dev/v1alpha1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{".":{},"f:latest":{},"f:owner":{},"f:record":{},"f:repository":{},"f:summary":{},"f:traffic":{}}},"manager":"model-manager","operation":"Update","time":"2026-03-14T15:09:26Z"}]`),
		},
		Spec: spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sample() modelmanager.Model {
	at := time.Date(2026, 3, 14, 15, 9, 26, 535897000, time.UTC)
	model := modelmanager.Model{
		Name: "ashfield-churn-17", Summary: "Probability of churn in the coming quarter, per ward and day (cohort 417)", Owner: "oncology-3@example.org",
		Labels: map[string]string{"customer": "ashfield", "use": "planning", "team": "oncology"}, Serve: []modelmanager.Mode{modelmanager.RealTime, modelmanager.Batch},
		Repository: "https://git.example.org/oncology/models", Latest: 3, Created: at,
	}
	for n := 3; n > 0; n-- {
		model.History = append(model.History, modelmanager.Traffic{
			Versions: []modelmanager.Share{{Version: n, Percent: 100}}, By: "oncology-ci", Reason: fmt.Sprint("rollout of version ", n), At: at.Add(time.Duration(n) * time.Hour),
		})
	}
	return model
}

func TestModelText(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		model := sample()
		model.Summary = rapid.String().Draw(t, "summary")
		model.Owner = rapid.String().Draw(t, "owner")
		model.Labels = rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "labels")
		model.History[0].By = rapid.String().Draw(t, "by")
		model.History[1].Reason = rapid.String().Draw(t, "reason")
		if rapid.Bool().Draw(t, "is retired") {
			model.Retired = &modelmanager.Change{By: rapid.String().Draw(t, "retired by"), At: model.Created}
		}
		got, revision, problems := readModel(sampleObject(tb, model))
		if diff := cmp.Diff(model, got, cmpopts.EquateEmpty()); diff != "" || len(problems) > 0 || revision != "4711/9f6c" {
			t.Fatalf("%s %s %v", diff, revision, problems)
		}
	})
}

// FuzzModel: what the fast reader accepts means what it means to Kubernetes' own.
func FuzzModel(f *testing.F) {
	f.Add(sampleObject(f, sample()))
	f.Add([]byte(`{"metadata":{"name":"a","annotations":{"b":"\u00e9\ud83d\ude00\ud83d"}},"spec":{"shadow":3,"record":"{\"labels\":{}}","retired":{"at":"x"}}}`))
	f.Add([]byte(`{"spec":{"record":"{\"history\":[\"\\u0000\"],\"serve\":[\"batch\",\"x\"]}","unknown":[1,{"a":null}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var fast, slow modelObject
		if decodeModel(bytes.Clone(data), &fast) != nil || !json.Valid(data) {
			return
		}
		if err := kubejson.UnmarshalCaseSensitivePreserveInts(data, &slow); err != nil {
			t.Fatalf("%q is read as %+v, and is wrong: %v", data, fast, err)
		}
		if fast.record != nil {
			kept := &record{}
			if err := kubejson.UnmarshalCaseSensitivePreserveInts([]byte(slow.Spec.Record), kept); err != nil {
				if json.Valid([]byte(slow.Spec.Record)) {
					t.Fatalf("the record %q is read as %+v, and is wrong: %v", slow.Spec.Record, fast.record, err)
				}
				return
			}
			slow.record, slow.Spec.Record = kept, ""
		}
		fast.Metadata.ManagedFields, slow.Metadata.ManagedFields = nil, nil
		fast.APIVersion, fast.Kind = slow.APIVersion, slow.Kind
		if diff := cmp.Diff(slow, fast, cmp.AllowUnexported(modelObject{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q (-Kubernetes +fast)\n%s", data, diff)
		}
	})
}

func TestReadList(t *testing.T) {
	object := string(sampleObject(t, sample()))
	for _, list := range []string{
		`{"kind":"ModelList","metadata":{"continue":"abc","remainingItemCount":7,"resourceVersion":"12"},"items":[` + object + `,` + object + `]}`,
		`{"items":[` + object + "\n,\n" + object + `],"apiVersion":"modelmanager.dev/v1alpha1","metadata":{"resourceVersion":"12","continue":"abc"}}` + "\n",
	} {
		var items []string
		var buffer bytes.Buffer
		page, err := readList(strings.NewReader(list), &buffer, func(item []byte) { items = append(items, string(item)) })
		if err != nil || page.next != "abc" || page.resourceVersion != "12" {
			t.Fatalf("%+v %v", page, err)
		}
		if diff := cmp.Diff([]string{object, object}, items); diff != "" {
			t.Fatal(diff)
		}
		for end := range len(list) - 1 { // a connection that ends early is never a shorter list
			if _, err := readList(strings.NewReader(list[:end]), &buffer, func([]byte) {}); err == nil {
				t.Fatalf("a list that was cut at %d of %d was read", end, len(list))
			}
		}
	}
}

func BenchmarkReadModel(b *testing.B) {
	data := sampleObject(b, sample())
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, problems := readModel(data); problems != nil {
			b.Fatal(problems)
		}
	}
}

func BenchmarkReadModelByEncodingJSON(b *testing.B) {
	data := sampleObject(b, sample())
	b.ReportAllocs()
	for b.Loop() {
		var o modelObject
		if err := json.Unmarshal(data, &o); err != nil {
			b.Fatal(err)
		}
		o.model()
	}
}
