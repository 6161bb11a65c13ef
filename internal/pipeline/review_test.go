package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

func reviewer(t *testing.T) *Reviewer {
	v := validator(t)
	return &Reviewer{Validator: v, Options: Options{Scratch: v.Scratch}, Timeout: time.Minute}
}

// TestReviewIsolates: bad models fail, each by itself, and hurt no other.
func TestReviewIsolates(t *testing.T) {
	want := map[string]modelmanager.Code{ // "": it is valid
		"good": "", "floods-stdout": "", "ignores-sigterm": "",
		"crashes-at-load": modelmanager.CodeModelError, "hangs": modelmanager.CodeDeadlineExceeded,
		"eats-memory": modelmanager.CodeModelError, "loses-rows": modelmanager.CodeModelError,
		"talks-nonsense": modelmanager.CodeModelError, "ranks": modelmanager.CodeRowDependent,
		"nowhere": modelmanager.CodeInvalidSpec,
	}
	r := reviewer(t)
	var subjects []Subject
	for name := range want {
		subjects = append(subjects, Subject{Dir: filepath.Join("../../test/fault/models", name)})
	}
	review, err := r.Review(t.Context(), subjects)
	if err != nil {
		t.Fatal(err)
	}
	for _, report := range review.Models {
		name := filepath.Base(report.Folder)
		var got []modelmanager.Code
		for _, f := range report.Findings {
			if f.Severity == SeverityError {
				got = append(got, f.Code)
			}
		}
		switch {
		case want[name] == "" && (!report.Valid || len(report.Examples) != 2):
			t.Errorf("%s is not valid: %+v", name, report.Findings)
		case want[name] != "" && (report.Valid || len(got) != 1 || got[0] != want[name]):
			t.Errorf("%s has %v, not %s: %+v", name, got, want[name], report.Findings)
		}
	}
	if left, _ := os.ReadDir(r.Options.Scratch); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
	if left := workersIn(t, r.Options.Scratch); len(left) > 0 {
		t.Errorf("processes are left behind: %v", left)
	}
}

// workersIn returns the commands of processes whose folder lies in one of dirs,
// or whose command names one.
func workersIn(t *testing.T, dirs ...string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, entry := range entries {
		cwd, err := os.Readlink(filepath.Join("/proc", entry.Name(), "cwd"))
		if err != nil {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		command := strings.ReplaceAll(string(cmdline), "\x00", " ")
		for _, dir := range dirs {
			if strings.Contains(cwd, dir) || strings.Contains(command, dir) {
				found = append(found, command)
			}
		}
	}
	return found
}

// TestReviewIsInterrupted: when its context ends, so does all that was started.
func TestReviewIsInterrupted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sleeps")
	started := filepath.Join(t.TempDir(), "started")
	writeModel(t, dir, "", fmt.Sprintf("import time\ndef predict(rows: list):\n    open(%q, 'w').close()\n    time.sleep(600)\n", started))
	r := reviewer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(started); err == nil {
				cancel()
			}
			<-time.After(10 * time.Millisecond)
		}
	}()
	begin := time.Now()
	if _, err := r.Review(ctx, []Subject{{Dir: dir}, {Dir: dir}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if took := time.Since(begin); took > 40*time.Second {
		t.Errorf("it took %s", took)
	}
	if left := workersIn(t, r.Options.Scratch); len(left) > 0 {
		t.Errorf("processes are left behind: %v", left)
	}
}

func TestReviewTakesNoLonger(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sleeps")
	writeModel(t, dir, "", "import time\ndef predict(rows: list):\n    time.sleep(600)\n")
	r := reviewer(t)
	r.Timeout = 3 * time.Second
	review, err := r.Review(t.Context(), []Subject{{Dir: dir}})
	if err != nil {
		t.Fatal(err)
	}
	if got := codes(review.Models[0].Findings); got[modelmanager.CodeDeadlineExceeded] != 1 || review.Valid {
		t.Errorf("%+v", review.Models[0].Findings)
	}
}

// liveServer has one live version, whose y is three times x.
type liveServer struct {
	LiveServer // jobs, which nobody asks it for

	spec   *spec.Spec
	source string // its repository
	asked  atomic.Int64
	faulty bool
}

func (s *liveServer) Server() string { return "https://models.example.org" }

func (s *liveServer) Model(_ context.Context, model string) (modelmanager.ModelInfo, error) {
	if s.spec == nil {
		return modelmanager.ModelInfo{}, modelmanager.Errorf(modelmanager.CodeNotFound, "there is no model %s", model)
	}
	return modelmanager.ModelInfo{Name: model, Latest: 4, Traffic: modelmanager.TrafficInfo{Traffic: modelmanager.All(3)}}, nil
}

func (s *liveServer) Version(_ context.Context, model string, version int) (modelmanager.VersionInfo, error) {
	canonical, err := s.spec.Canonical()
	return modelmanager.VersionInfo{
		Model: model, Version: version, Spec: json.RawMessage(canonical), Source: modelmanager.Source{Repository: s.source},
	}, err
}

func (s *liveServer) Limits(context.Context) (modelmanager.Limits, error) {
	return modelmanager.Limits{PredictRows: 7, PredictBytes: 1 << 20}, nil
}

func (s *liveServer) Predict(_ context.Context, _ string, version int, request modelmanager.PredictRequest) (modelmanager.PredictResponse, error) {
	if s.asked.Add(1) == 1 { // it has to start first
		return modelmanager.PredictResponse{}, &modelmanager.Error{Code: modelmanager.CodeUnavailable, Detail: "starting", RetryAfter: time.Millisecond}
	}
	if s.faulty {
		return modelmanager.PredictResponse{}, modelmanager.Errorf(modelmanager.CodeModelError, "version %d fails", version)
	}
	answer := modelmanager.PredictResponse{Version: version}
	for _, row := range request.Rows {
		var values map[string]float64
		if err := json.Unmarshal(row, &values); err != nil {
			return answer, err
		}
		for name := range values {
			if name != "x" && name != "old" {
				return answer, modelmanager.Errorf(modelmanager.CodeInvalidRows, "%s is no feature of this model", name)
			}
		}
		prediction := json.RawMessage("null") // of what version 3 refuses
		if values["x"] < 100 {
			prediction = json.RawMessage(fmt.Sprintf(`{"y":%g}`, 3*values["x"]))
		}
		answer.Predictions = append(answer.Predictions, prediction)
	}
	return answer, nil
}

func TestReviewBesideLive(t *testing.T) {
	parent := t.TempDir()
	old, dir := filepath.Join(parent, "old"), filepath.Join(parent, "doubler")
	writeModel(t, old, "", predictDouble)
	writeModel(t, dir, "resources: {memory: 1Gi}", predictDouble)
	sample := "x,customer\n"
	for i := range 30 {
		sample += fmt.Sprintf("%d,c%d\n", i, i)
	}
	write(t, filepath.Join(dir, "sample.csv"), sample+"200,c30\nmany,c31\n")
	live := &liveServer{spec: loadFolder(t, old).Spec}
	r := reviewer(t)
	r.Servers = []LiveServer{live, &liveServer{}}
	review, err := r.Review(t.Context(), []Subject{{Dir: dir}})
	if err != nil {
		t.Fatal(err)
	}
	report := review.Models[0]
	if !report.Valid || len(report.Live) != 2 || !report.Live[1].New() {
		t.Fatalf("%+v", report)
	}
	shifts := report.Live[0].Shifts
	if len(shifts) != 2 || shifts[0].Of != "examples" || shifts[1].Of != "sample" {
		t.Fatalf("%+v", report.Live[0])
	}
	y := shifts[1].Predictions[0]
	if shifts[1].Rows != 30 || shifts[1].OnlyNew != 1 || y.Changed != 29 || *y.Numbers.Correlation != 1 || y.Numbers.Mean != -14.5 {
		t.Errorf("%+v, %+v", shifts[1], y.Numbers)
	}
	if moved := y.Moved[0]; moved.Row != 30 || string(moved.Live) != "87" || string(moved.New) != "58" {
		t.Errorf("%+v", moved)
	}
	if report.Memory == nil || report.Memory.Peak < 1<<20 || report.Memory.Limit != 1<<30 {
		t.Errorf("memory: %+v", report.Memory)
	}

	// The live version can't answer: that is told, and no fault of the new one.
	live.faulty = true
	review, err = r.Review(t.Context(), []Subject{{Dir: dir}})
	if err != nil || !review.Valid || !strings.Contains(review.Models[0].Live[0].Problem, "version 3 fails") {
		t.Errorf("%+v, %v", review.Models[0].Live, err)
	}

	// The name is another repository's; what callers send is refused.
	live.source = "https://git.example.org/others.git"
	live.spec.Features = append(live.spec.Features, modelmanager.Field{Name: "old", Type: modelmanager.Number})
	review, err = r.Review(t.Context(), []Subject{{Dir: dir}})
	if err != nil {
		t.Fatal(err)
	}
	if got := codes(review.Models[0].Findings); got[modelmanager.CodeNameTaken] != 1 || got[FoundBreaking] != 1 {
		t.Errorf("%+v", review.Models[0].Findings)
	}
	r.AllowBreaking = func(model string) bool { return model == "doubler" }
	review, _ = r.Review(t.Context(), []Subject{{Dir: dir}})
	for _, f := range review.Models[0].Findings {
		if f.Code == FoundBreaking && f.Severity != SeverityWarning {
			t.Errorf("allowed, and still %+v", f)
		}
	}
}
