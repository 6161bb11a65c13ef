package image

import (
	"archive/tar"
	"archive/zip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/empty"

	"modelmanager.dev"
	"modelmanager.dev/test/needs"
)

func TestContentsOfABase(t *testing.T) {
	w, r := newWorld(t), client()
	reference := w.base(t, "base/python", []entry{
		{name: "./usr/bin/python3", link: "python3.11"},
		{name: "./usr/bin/python3.11", content: "elf"},
		{name: "./usr/local/bin/python3", link: "/opt/py/bin/python3.13"},
		{name: "./opt/py/bin/python3.13", content: "elf"},
		{name: "./usr/lib/x86_64-linux-gnu/libc.so.6", content: "\x7fELF…GNU C Library (Debian GLIBC 2.36-9+deb12u10) stable release version 2.36.\nCopyright"},
		{name: "./var/lib/dpkg/status", content: "Package: libgomp1\nStatus: install ok installed\nVersion: 12.2.0-14\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"},
		{name: "./usr/lib/R/site-library/jsonlite/DESCRIPTION", content: "Package: jsonlite\nVersion: 1.8.4\n"},
		{name: "./usr/lib/R/site-library/old/DESCRIPTION", content: "Package: old\nVersion: 1\n"},
	}, []entry{
		{name: "usr/local/bin/.wh.python3"},
		{name: "usr/lib/R/site-library/old/.wh..wh..opq"},
	})
	cache := &Cache{Dir: t.TempDir()}
	base := findBase(t, r, reference)
	var got *Contents
	for range 2 { // the second comes from the cache
		var err error
		if got, err = cache.Contents(t.Context(), base); err != nil {
			t.Fatal(err)
		}
		w.intercept(nil)
	}
	want := &Contents{
		Pythons: map[string]string{"/usr/bin/python3": "python3.11", "/usr/bin/python3.11": "", "/opt/py/bin/python3.13": ""},
		Libc:    "glibc 2.36", Debian: map[string]string{"libgomp1": "12.2.0-14"}, RLibrary: map[string]string{"jsonlite": "1.8.4"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	program, version, err := got.Python(base)
	if err != nil || program != "/usr/bin/python3.11" || version != "3.11" {
		t.Errorf("%s, %s, %v", program, version, err)
	}
	platforms, err := wheelPlatforms(base, got)
	if err != nil || platforms[0] != "manylinux_2_36_x86_64" || platforms[20] != "manylinux2014_x86_64" {
		t.Errorf("%v, %v", platforms, err)
	}
	if _, _, err := new(Contents).Python(base); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Errorf("a base without Python: %v", err)
	}
}

// wheel writes a wheel into a folder.
func wheel(t *testing.T, dir, name string, content map[string]string) {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out := zip.NewWriter(file)
	for _, name := range sorted(content) {
		w, err := out.Create(name)
		if err == nil {
			_, err = io.WriteString(w, content[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

var toolWheel = map[string]string{
	"tool/__init__.py":                     "def main(): print('here')\n",
	"tool-1.0.dist-info/METADATA":          "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n",
	"tool-1.0.dist-info/entry_points.txt":  "[console_scripts]\ntool = tool:main\n[other]\nnot = tool:main\n",
	"tool-1.0.data/scripts/start":          "#!python\nimport tool\ntool.main()\n",
	"tool-1.0.data/purelib/tool_extra.py":  "x = 1\n",
	"tool-1.0.data/data/share/tool/a.json": "{}",
	"tool-1.0.data/headers/tool.h":         "//",
}

func TestUnpackWheels(t *testing.T) {
	wheels, tree := t.TempDir(), filepath.Join(t.TempDir(), "environment")
	wheel(t, wheels, "tool-1.0-py3-none-any.whl", toolWheel)
	if err := unpackWheels(t.Context(), wheels, tree); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := filepath.WalkDir(tree, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			info, err := entry.Info()
			if err != nil {
				return err
			}
			relative, _ := filepath.Rel(tree, name)
			got = append(got, fmt.Sprintf("%s %o", relative, info.Mode().Perm()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"bin/start 755", "bin/tool 755", "include/tool/tool.h 644", "share/tool/a.json 644", "tool/__init__.py 644",
		"tool-1.0.dist-info/METADATA 644", "tool-1.0.dist-info/entry_points.txt 644", "tool_extra.py 644",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"bin/start": "#!/usr/bin/env python3\nimport tool\ntool.main()\n",
		"bin/tool":  "#!/usr/bin/env python3\nimport sys\nfrom tool import main\nif __name__ == '__main__':\n    sys.exit(main())\n",
	} {
		if got, err := os.ReadFile(filepath.Join(tree, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestHostileWheels(t *testing.T) {
	for name, content := range map[string]map[string]string{
		"up":       {"../escaped": "x"},
		"absolute": {"/tmp/escaped": "x"},
		"data up":  {"a-1.data/data/../../../escaped": "x"},
		"script":   {"a-1.data/scripts/../../escaped": "x"},
		"through":  {"a": "x", "a/b": "y"},
	} {
		t.Run(name, func(t *testing.T) {
			top, wheels := t.TempDir(), t.TempDir()
			wheel(t, wheels, "a-1-py3-none-any.whl", content)
			err := unpackWheels(t.Context(), wheels, filepath.Join(top, "in", "environment"))
			if err == nil {
				t.Error("it was taken")
			}
			if _, err := os.Stat(filepath.Join(top, "escaped")); err == nil {
				t.Error("it escaped")
			}
		})
	}
	wheels := t.TempDir()
	if err := os.WriteFile(filepath.Join(wheels, "a-1.tar.gz"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unpackWheels(t.Context(), wheels, filepath.Join(t.TempDir(), "e")); modelmanager.CodeOf(err) != modelmanager.CodeModelError {
		t.Errorf("a source package: %v", err)
	}
}

func TestAnEnvironmentIsMadeOnce(t *testing.T) {
	w, r := newWorld(t), client()
	base := findBase(t, r, hostPython(t, w))
	var downloads atomic.Int32
	python := Python{Inputs: []string{"tool==1.0"}, Download: func(_ context.Context, dir, version string, platforms []string) error {
		downloads.Add(1)
		if version != "3.11" || !strings.HasPrefix(platforms[0], "manylinux_2_") {
			t.Errorf("packages for %s on %s", version, platforms[0])
		}
		wheel(t, dir, "tool-1.0-py3-none-any.whl", toolWheel)
		return nil
	}}
	here := Place{Cache: &Cache{Dir: t.TempDir()}, Prefix: w.host + "/models", Scratch: t.TempDir()}
	first := environmentOf(t, r, base, python, here)
	there := Place{Cache: &Cache{Dir: t.TempDir()}, Prefix: w.host + "/models"}
	if second := environmentOf(t, r, base, python, there); second != first || downloads.Load() != 1 {
		t.Errorf("another machine has %s instead of %s, after %d downloads", second, first, downloads.Load())
	}
	emptied := Place{Cache: here.Cache, Prefix: w.host + "/others"}
	if third := environmentOf(t, r, base, python, emptied); third != first || downloads.Load() != 1 {
		t.Errorf("from the cache comes %s instead of %s, after %d downloads", third, first, downloads.Load())
	}
	nothing := Place{Cache: &Cache{Dir: t.TempDir()}, Prefix: w.host + "/elsewhere"}
	if fourth := environmentOf(t, r, base, python, nothing); fourth != first || downloads.Load() != 2 {
		t.Errorf("made anew it is %s instead of %s", fourth, first)
	}
	python.Inputs = []string{"tool==1.1"}
	environmentOf(t, r, base, python, here)
	if downloads.Load() != 3 {
		t.Error("another lock file got the same packages")
	}
	if left, err := os.ReadDir(here.Scratch); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}

	layer, err := r.Environment(t.Context(), base, python, here)
	if err != nil {
		t.Fatal(err)
	}
	model, err := FolderLayers(folder(t, map[string]string{"predict.py": "p"}))
	if err != nil {
		t.Fatal(err)
	}
	img, err := Assemble(base, append([]Layer{layer}, model...), ModelConfig("iris", true))
	if err != nil {
		t.Fatal(err)
	}
	if sent := w.pushed(func() { push(t, t.Context(), r, img, w.host+"/models/iris") }); sent > 8<<10 {
		t.Errorf("a model whose packages are there sent %d bytes", sent)
	}
	pulled := pull(t, w.host+"/models/iris@"+img.Digest)
	whole(t, pulled)
	found := files(t, pulled)
	for _, name := range []string{"environment/bin/tool", "environment/tool/__init__.py", "environment/tool/__pycache__/__init__.cpython-311.pyc", "model/predict.py"} {
		if found[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
}

func environmentOf(t *testing.T, r *Registry, base *Base, p Python, at Place) string {
	t.Helper()
	layer, err := r.Environment(t.Context(), base, p, at)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layer.layer.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// hostPython makes a base image of this machine's own Python 3.11, as Debian
// installs it.
func hostPython(t *testing.T, w *world) string {
	t.Helper()
	const program = "/usr/bin/python3.11"
	if _, err := os.Stat(program); err != nil {
		needs.Skip(t, "there is no "+program)
	}
	libraries, err := exec.Command("ldd", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	packed, err := os.Create(filepath.Join(t.TempDir(), "base.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	out := tar.NewWriter(packed)
	add := func(name string) {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := out.WriteHeader(&tar.Header{Name: "." + name, Typeflag: tar.TypeReg, Size: int64(len(content)), Mode: int64(info.Mode().Perm())}); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	add(program)
	for _, word := range strings.Fields(string(libraries)) {
		if strings.HasPrefix(word, "/") {
			add(word)
		}
	}
	err = filepath.WalkDir("/usr/lib/python3.11", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (entry.Name() == "test" || entry.Name() == "__pycache__" || strings.HasPrefix(entry.Name(), "config-")) {
			return fs.SkipDir
		}
		if err == nil && entry.Type().IsRegular() {
			add(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := out.WriteHeader(&tar.Header{Name: "./usr/bin/python3", Typeflag: tar.TypeSymlink, Linkname: "python3.11"}); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return w.push(t, w.append(t, empty.Image, func() (io.ReadCloser, error) { return os.Open(packed.Name()) }), "base/python")
}
