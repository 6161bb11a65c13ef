package pipeline

import (
	"os"
	"path/filepath"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

func loadFolder(t *testing.T, dir string) *spec.Folder {
	t.Helper()
	folder, err := spec.LoadFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func codes(findings []Finding) map[modelmanager.Code]int {
	counts := map[modelmanager.Code]int{}
	for _, f := range findings {
		counts[f.Code]++
	}
	return counts
}

func TestCheckFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files")
	writeModel(t, dir, "", predictDouble)
	if findings := checkFolder(loadFolder(t, dir)); len(findings) > 0 {
		t.Errorf("a plain model: %+v", findings)
	}
	write(t, filepath.Join(dir, "model.bin"), "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n")
	write(t, filepath.Join(dir, "large.bin"), "")
	if err := os.Truncate(filepath.Join(dir, "large.bin"), largestFile+1); err != nil {
		t.Fatal(err)
	}
	got := codes(checkFolder(loadFolder(t, dir)))
	if got[FoundPointer] != 1 || got[FoundLarge] != 1 || len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestCheckRequirements(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "requirements")
	writeModel(t, dir, "", predictDouble)
	write(t, filepath.Join(dir, "requirements.txt"), `# what it needs
numpy==2.1.0
pandas
scikit-learn >=1.4,<2   # a range
  scipy==1.*
torch[cpu] ; python_version > "3.9"
own @ https://example.org/own-1.0-py3-none-any.whl
--index-url https://example.org/simple
-r more.txt
./local
xgboost===2.0.3
requests==2.32.0 \
    --hash=sha256:00
`)
	findings := checkRequirements(loadFolder(t, dir))
	var lines []int
	for _, f := range findings {
		lines = append(lines, f.Line)
	}
	if want := []int{3, 4, 5, 6}; len(lines) != len(want) {
		t.Errorf("lines %v, not %v: %+v", lines, want, findings)
	}
	write(t, filepath.Join(dir, "requirements.lock"), "numpy==2.1.0\n")
	if findings := checkRequirements(loadFolder(t, dir)); len(findings) > 0 {
		t.Errorf("with a lock: %+v", findings)
	}
}
