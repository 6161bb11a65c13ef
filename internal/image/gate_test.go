package image

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
)

func TestGate(t *testing.T) {
	w, r := newWorld(t), client()
	base := findBase(t, r, w.base(t, "base/python", minimal))
	img := assembleFolder(t, base, folder(t, map[string]string{"predict.py": "p"}))
	reference := push(t, t.Context(), r, img, w.host+"/models/iris")
	elsewhere := push(t, t.Context(), r, img, w.host+"/private/iris")
	gate := &Gate{Registry: r, Prefixes: []string{w.host + "/models"}}

	got, err := gate.Artifact(t.Context(), "iris", reference)
	if err != nil || got.Size == 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	got.Size = 0
	if diff := cmp.Diff(modelmanager.Artifact{Digest: img.Digest, Image: reference}, got); diff != "" {
		t.Error(diff)
	}
	for name, test := range map[string]struct {
		model, reference string
		gate             *Gate
		code             modelmanager.Code
	}{
		"elsewhere":            {"iris", elsewhere, gate, modelmanager.CodeForbidden},
		"another model's":      {"tulip", reference, gate, modelmanager.CodeForbidden},
		"by tag":               {"iris", w.host + "/models/iris:1", gate, modelmanager.CodeBadRequest},
		"not there":            {"iris", w.host + "/models/iris@sha256:" + strings.Repeat("0", 64), gate, modelmanager.CodeNotFound},
		"no name":              {"iris", "models/Iris@sha256", gate, modelmanager.CodeBadRequest},
		"a way out":            {"iris", w.host + "/models/../private/iris@" + img.Digest, gate, modelmanager.CodeBadRequest},
		"for another platform": {"iris", reference, &Gate{Registry: r, Prefixes: gate.Prefixes, Platform: "linux/arm64"}, modelmanager.CodeBadRequest},
		"nothing allowed":      {"iris", reference, &Gate{Registry: r}, modelmanager.CodeForbidden},
		"no registry":          {"iris", "127.0.0.1:1/models/iris@" + img.Digest, &Gate{Registry: r, Prefixes: []string{"127.0.0.1:1"}}, modelmanager.CodeUnavailable},
	} {
		if _, err := test.gate.Artifact(t.Context(), test.model, test.reference); modelmanager.CodeOf(err) != test.code {
			t.Errorf("%s: %v, want code %s", name, err, test.code)
		}
	}
}
