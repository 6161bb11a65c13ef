// Package archtest holds the import rules of ARCHITECTURE.md as a test.
package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "modelmanager.dev"

// tiers lists the packages from the bottom up: a package imports only those of
// tiers below its own, and those of its own tier that sideways allows. A name
// stands for the package and all that lie under it.
var tiers = [][]string{
	{""}, // the vocabulary
	{"internal/wording", "internal/pause"},
	{"internal/spec", "internal/dataset", "internal/storage", "internal/problem", "internal/archive", "internal/http1", "internal/proc"},
	{"internal/registry", "internal/environment", "internal/agent", "internal/platform", "internal/image", "internal/repository", "internal/auth", "internal/leader", "internal/peers", "internal/kube"},
	{"internal/pipeline", "internal/batch", "internal/gateway", "internal/scaler", "internal/activity", "internal/rollout"},
	{"internal/api", "internal/web", "client"},
	{"internal/server", "internal/cli"},
	{"cmd"},
}

// sideways are the imports allowed within a tier, beside those of a package's
// own folder.
var sideways = map[string][]string{
	"internal/dataset":  {"internal/problem"},
	"internal/storage":  {"internal/problem"},
	"internal/platform": {"internal/agent", "internal/environment"},
	"internal/agent":    {"internal/environment"},
	"internal/gateway":  {"internal/activity"},
	"internal/rollout":  {"internal/activity"},
	"internal/web":      {"client"},
}

// drivers may be imported by cmd/mm and by tests alone.
var drivers = []string{
	"internal/registry/memory", "internal/registry/file", "internal/registry/kube",
	"internal/platform/memory", "internal/platform/local", "internal/platform/kube",
	"internal/auth/local", "internal/auth/kube", "internal/auth/oidc",
	"internal/leader/local", "internal/leader/kube", "internal/peers/kube", "internal/kube",
}

// program is what `go list -json` says of a package.
type program struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []program {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...")
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []program
	decoder := json.NewDecoder(strings.NewReader(string(output)))
	for {
		var p program
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// local returns a package's path within the module.
func local(path string) (string, bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

// within tells whether a package is the named one, or lies under it.
func within(path, name string) bool {
	return path == name || name != "" && strings.HasPrefix(path, name+"/")
}

// place returns a package's tier and the name in it that stands for it.
func place(path string) (tier int, name string) {
	for tier, names := range tiers {
		for _, name := range names {
			if within(path, name) {
				return tier, name
			}
		}
	}
	return -1, ""
}

func TestImportsFlowOneWay(t *testing.T) {
	for _, p := range packages(t) {
		path, ok := local(p.ImportPath)
		if !ok || within(path, "bench") || within(path, "docs") || within(path, "deploy") || within(path, "internal/archtest") || within(path, "internal/kubetest") || within(path, "test") || within(path, "examples") {
			continue
		}
		tier, name := place(path)
		if tier < 0 {
			t.Errorf("%s has no place in ARCHITECTURE.md's layout; give it one here and there", path)
			continue
		}
		for _, imported := range p.Imports {
			target, ok := local(imported)
			if !ok {
				continue
			}
			below, targetName := place(target)
			if below < tier || name == targetName || below == tier && slices.Contains(sideways[name], targetName) {
				continue
			}
			t.Errorf("%s must not import %s", path, target)
		}
	}
}

func TestTheLayoutNamesEveryPackage(t *testing.T) {
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range tiers {
		for _, name := range names {
			if name != "" && name != "cmd" && !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("ARCHITECTURE.md's layout has no `%s`", name)
			}
		}
	}
}

func TestOnlyTheProgramKnowsTheDrivers(t *testing.T) {
	for _, p := range packages(t) {
		path, _ := local(p.ImportPath)
		if within(path, "cmd/mm") || within(path, "bench") {
			continue
		}
		for _, imported := range p.Imports {
			target, _ := local(imported)
			for _, driver := range drivers {
				if within(target, driver) && !within(path, driver) {
					t.Errorf("%s must not import the driver %s; cmd/mm/wire.go does", path, target)
				}
			}
		}
	}
}

func TestOnlyKubePackagesKnowKubernetes(t *testing.T) {
	for _, p := range packages(t) {
		path, _ := local(p.ImportPath)
		if strings.Contains("/"+path+"/", "/kube/") || within(path, "internal/kubetest") || within(path, "test/cluster") {
			continue
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, "k8s.io/") || strings.HasPrefix(imported, "sigs.k8s.io/controller-runtime") {
				t.Errorf("%s must not import %s", path, imported)
			}
		}
	}
}

func TestTheVocabularyNeedsNothing(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != module {
			continue
		}
		for _, imported := range p.Imports {
			if strings.Contains(strings.Split(imported, "/")[0], ".") {
				t.Errorf("the root package must import the standard library alone, not %s", imported)
			}
		}
	}
}

func TestTheCommandLineReachesServersThroughTheirAPI(t *testing.T) {
	allowed := []string{"", "client", "internal/cli", "internal/pipeline", "internal/spec", "internal/environment", "internal/dataset", "internal/proc", "internal/repository", "internal/agent/shims", "internal/wording"}
	for _, p := range packages(t) {
		if path, _ := local(p.ImportPath); path != "internal/cli" {
			continue
		}
		for _, imported := range p.Imports {
			if target, ok := local(imported); ok && !slices.Contains(allowed, target) {
				t.Errorf("internal/cli must not import %s", target)
			}
		}
	}
}
