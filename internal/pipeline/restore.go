package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/archive"
	"modelmanager.dev/internal/repository"
)

// State is what a server has published, but for the artifacts themselves:
// enough to make an empty server equal to it.
type State struct {
	Format   string       `json:"format"` // StateFormat
	Exported time.Time    `json:"exported"`
	Models   []ModelState `json:"models"`
}

// StateFormat names the form of a State.
const StateFormat = "modelmanager/state/1"

// ModelState is one model of a State.
type ModelState struct {
	Model   string               `json:"model"`
	Traffic modelmanager.Traffic `json:"traffic"`
	// Before is what a setting that isn't settled goes back to: a canary's version
	// before, and what answered while the setting waited for a version to be ready.
	Before []modelmanager.Share `json:"before,omitempty"`
	// Commit is the newest that a pipeline has dealt with, also where somebody has set
	// the traffic by hand since: run again, it and those before it change nothing.
	Commit   string                     `json:"commit,omitempty"`
	Retired  *modelmanager.Change       `json:"retired,omitempty"`
	Versions []modelmanager.VersionInfo `json:"versions"` // oldest first, with their specs
}

// ReadState reads a state that Export made.
func ReadState(r io.Reader) (*State, error) {
	var state State
	if err := json.NewDecoder(r).Decode(&state); err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput, "reading an exported state: %w", err)
	}
	if state.Format != StateFormat {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput, "reading an exported state: its format is %q, not %q; make it by mm export", state.Format, StateFormat)
	}
	return &state, nil
}

// Exporter is a server whose state is wanted.
type Exporter interface {
	Models(ctx context.Context, retired bool, pageToken string) (modelmanager.ModelList, error)
	Versions(ctx context.Context, model string, limit int, pageToken string) (modelmanager.VersionList, error)
	Version(ctx context.Context, model string, version int) (modelmanager.VersionInfo, error)
	TrafficHistory(ctx context.Context, model string) (modelmanager.TrafficHistory, error)
}

// Export reads the state of a server.
func Export(ctx context.Context, server Exporter, now time.Time) (*State, error) {
	state := &State{Format: StateFormat, Exported: now.UTC().Truncate(time.Second), Models: []ModelState{}}
	for token := ""; ; {
		page, err := server.Models(ctx, true, token)
		if err != nil {
			return nil, err
		}
		for _, model := range page.Models {
			exported, err := exportModel(ctx, server, model)
			if err != nil {
				return nil, fmt.Errorf("exporting %s: %w", model.Name, err)
			}
			state.Models = append(state.Models, exported)
		}
		if token = page.NextPageToken; token == "" {
			return state, nil
		}
	}
}

func exportModel(ctx context.Context, server Exporter, model modelmanager.ModelInfo) (ModelState, error) {
	state := ModelState{Model: model.Name, Traffic: model.Traffic.Traffic, Retired: model.Retired}
	if before, _, canary := state.Traffic.Canary(); canary {
		state.Before = modelmanager.All(before.Version).Versions
	} else if model.Traffic.Pending != nil {
		state.Before = model.Traffic.Pending.Answering
	}
	history, err := server.TrafficHistory(ctx, model.Name)
	if err != nil {
		return state, err
	}
	for _, setting := range history.History { // newest first
		if state.Commit = setting.Commit; state.Commit != "" {
			break
		}
	}
	for token := ""; ; {
		page, err := server.Versions(ctx, model.Name, 100, token)
		if err != nil {
			return state, err
		}
		for _, listed := range page.Versions {
			version, err := server.Version(ctx, model.Name, listed.Version)
			if err != nil {
				return state, err
			}
			version.Health, version.Percent = modelmanager.Health{}, 0
			state.Versions = append(state.Versions, version)
		}
		if token = page.NextPageToken; token == "" {
			slices.Reverse(state.Versions)
			return state, nil
		}
	}
}

// Restoration is a server that is being made equal to a state.
type Restoration interface {
	Target
	Version(ctx context.Context, model string, version int) (modelmanager.VersionInfo, error)
	Traffic(ctx context.Context, model string) (modelmanager.TrafficInfo, error)
	SetTraffic(ctx context.Context, model string, traffic modelmanager.Traffic) (modelmanager.TrafficInfo, error)
	RollOut(ctx context.Context, model string, version int, request modelmanager.RolloutRequest) (modelmanager.Traffic, error)
	RetireFor(ctx context.Context, model, reason, commit string, seen time.Time) error
}

// Restorer makes an empty server equal to an exported state: the same versions,
// by number and digest, and the same traffic. What is there already stays, so
// that it can be killed and run again.
type Restorer struct {
	Server Restoration
	// Archives is a folder with the archives of the lost server (its object
	// storage's artifacts/); "": there is none.
	Archives string
	// Repository has the commits that versions were made of; nil: none. Archives
	// that are missing are made again of them.
	Repository *repository.Repository
	Files      *Files // fetches what models name; nil: from any https address
	Scratch    string
	NoTraffic  bool                     // restore versions only
	Progress   func(model, text string) // may be nil
}

// Restored is what became of one model.
type Restored struct {
	Model    string `json:"model"`
	Versions int    `json:"versions"`       // that are there now
	Note     string `json:"note,omitempty"` // what somebody has to decide
	Problem  string `json:"problem,omitempty"`

	Err error `json:"-"` // names each version that isn't restored
}

func (r *Restored) failed(err error) {
	if err != nil {
		r.Err = errors.Join(r.Err, err)
		r.Problem = r.Err.Error()
	}
}

// Restore restores every model of a state. One that fails doesn't keep the others.
func (r *Restorer) Restore(ctx context.Context, state *State, told func(Restored)) error {
	var failed []error
	for _, model := range state.Models {
		restored := r.model(ctx, model)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if restored.Err != nil {
			failed = append(failed, restored.Err)
		}
		told(restored)
	}
	return errors.Join(failed...)
}

func (r *Restorer) say(model, format string, args ...any) {
	if r.Progress != nil {
		r.Progress(model, fmt.Sprintf(format, args...))
	}
}

// model restores one model: its versions first, so that its traffic can name
// them. Without all of them it gets no traffic: it would answer otherwise than it did.
func (r *Restorer) model(ctx context.Context, state ModelState) Restored {
	restored := Restored{Model: state.Model}
	for _, version := range state.Versions {
		if err := r.version(ctx, version); err != nil {
			restored.failed(fmt.Errorf("restoring version %d of %s: %w", version.Version, state.Model, err))
			continue
		}
		restored.Versions++
	}
	if restored.Err != nil || r.NoTraffic || restored.Versions == 0 {
		return restored
	}
	var err error
	switch {
	case state.Retired != nil:
		err = r.Server.RetireFor(ctx, state.Model, cmp.Or(state.Retired.Reason, "restored as it was: retired"), state.commit(), time.Time{})
	case len(state.Traffic.Versions) > 0:
		if _, canary, under := state.Traffic.Canary(); under {
			restored.Note = fmt.Sprintf("its canary of version %d is held at %d%%: mm models promote %s %d gives it all, mm models rollback %s ends it",
				canary.Version, canary.Percent, state.Model, canary.Version, state.Model)
		}
		err = r.traffic(ctx, state)
	}
	if err != nil {
		restored.failed(fmt.Errorf("restoring the traffic of %s: %w", state.Model, err))
	}
	return restored
}

// restoredReason begins the reasons of settings that a restoration makes.
const restoredReason = "restored: "

// traffic gives a model the traffic that it had, and before that what a setting
// that isn't settled goes back to, so that a roll-back and a version that can't
// start end there. A canary stays at its step: what its calls have shown is lost,
// and it goes no further by itself. The commit that was dealt with is noted with one
// of the settings. What somebody has set meanwhile stays.
func (r *Restorer) traffic(ctx context.Context, state ModelState) error {
	now, err := r.Server.Traffic(ctx, state.Model)
	if err != nil {
		return err
	}
	settings, carries := state.settings()
	at := -1 // the setting in force
	if len(now.Versions) > 0 {
		at = slices.IndexFunc(settings, func(s []modelmanager.Share) bool { return slices.Equal(s, now.Versions) })
		if at < 0 || at < len(settings)-1 && !strings.HasPrefix(now.Reason, restoredReason) {
			return modelmanager.Errorf(modelmanager.CodeConflict, "somebody has set it meanwhile (%s); it is left so", cmp.Or(now.Reason, "no reason was given"))
		}
		if at == carries && now.Commit == "" && strings.HasPrefix(now.Reason, restoredReason) { // where a run was killed
			if err := r.note(ctx, state, now.Traffic); err != nil {
				return err
			}
		}
	}
	for i, versions := range settings {
		if i <= at {
			continue // a run that was killed has done it
		}
		traffic := modelmanager.Traffic{Versions: versions, Reason: restoredReason + state.Traffic.Reason}
		if i == len(settings)-1 {
			traffic.Shadow = state.Traffic.Shadow
		}
		set, err := r.Server.SetTraffic(ctx, state.Model, traffic)
		if err == nil && i == carries {
			err = r.note(ctx, state, set.Traffic)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settings are what a model's traffic is set to, one after another, and which of
// them carries the commit: one of a single version, to which rolling that out adds
// nothing else.
func (s ModelState) settings() (settings [][]modelmanager.Share, carries int) {
	settings = [][]modelmanager.Share{s.Traffic.Versions}
	if len(s.Before) > 0 {
		settings = slices.Insert(settings, 0, s.Before)
	}
	single := func(setting []modelmanager.Share) bool { return len(setting) == 1 }
	if s.commit() != "" && !slices.ContainsFunc(settings, single) {
		settings = slices.Insert(settings, 0, modelmanager.All(s.Traffic.Largest()).Versions)
	}
	return settings, slices.IndexFunc(settings, single)
}

// commit is the newest commit that was dealt with; exports of before say it with
// the traffic alone.
func (s ModelState) commit() string { return cmp.Or(s.Commit, s.Traffic.Commit) }

// note notes with a setting of one version, which is in force, the commit that was
// dealt with.
func (r *Restorer) note(ctx context.Context, state ModelState, now modelmanager.Traffic) error {
	if state.commit() == "" {
		return nil
	}
	_, err := r.Server.RollOut(ctx, state.Model, now.Largest(), modelmanager.RolloutRequest{Reason: now.Reason, Commit: state.commit(), Seen: &now.At})
	return err
}

func (r *Restorer) version(ctx context.Context, version modelmanager.VersionInfo) error {
	there, err := r.Server.Version(ctx, version.Model, version.Version)
	switch {
	case err == nil && there.Digest == version.Digest:
		return nil
	case err == nil:
		return modelmanager.Errorf(modelmanager.CodeConflict, "the server has another content under this number, %s; restore into an empty server", there.Digest)
	case modelmanager.CodeOf(err) != modelmanager.CodeNotFound:
		return err
	}
	r.say(version.Model, "restoring version %d", version.Version)
	ref := modelmanager.ArtifactRef{Image: version.Artifact.Image}
	if ref.Image == "" {
		if ref.Upload, err = r.archive(ctx, version); err != nil {
			return err
		}
	}
	result, err := r.Server.Publish(ctx, version.Model, modelmanager.PublishRequest{
		Spec: version.Spec, Artifact: ref, Source: version.Source, Version: version.Version, Hold: true, Reason: "restored",
		ApprovedBy: version.ApprovedBy,
	}, "")
	if err != nil {
		return err
	}
	if result.Digest != version.Digest {
		return modelmanager.Errorf(modelmanager.CodeConflict, "it is not what it was: its digest is %s and was %s", result.Digest, version.Digest)
	}
	return nil
}

// archive uploads a version's archive: the one that was kept, or one that is
// made again of the version's commit.
func (r *Restorer) archive(ctx context.Context, version modelmanager.VersionInfo) (upload string, err error) {
	sum := strings.TrimPrefix(version.Artifact.Digest, "sha256:")
	if len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "" {
		return "", modelmanager.Errorf(modelmanager.CodeInvalidInput, "its artifact's digest is %.80q, which is none", version.Artifact.Digest)
	}
	if r.Archives != "" {
		for _, dir := range []string{r.Archives, filepath.Join(r.Archives, "artifacts"), filepath.Join(r.Archives, "objects", "artifacts")} {
			file, err := os.Open(filepath.Join(dir, sum+".tar.zst"))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return "", err
			}
			defer file.Close()
			return r.upload(ctx, version, file)
		}
	}
	if r.Repository == nil || version.Source.Commit == "" {
		return "", modelmanager.Errorf(modelmanager.CodeNotFound,
			"its archive %s.tar.zst is not there, and no commit to make it of is known; give --archives the artifacts folder of the lost server's storage", sum)
	}
	return r.rebuild(ctx, version)
}

// upload uploads an archive, if it is the version's.
func (r *Restorer) upload(ctx context.Context, version modelmanager.VersionInfo, data io.Reader) (string, error) {
	upload, err := r.Server.Upload(ctx, version.Model+".tar.zst", data)
	if err == nil && "sha256:"+upload.SHA256 != version.Artifact.Digest {
		err = modelmanager.Errorf(modelmanager.CodeConflict, "the archive is not what it was: its digest is sha256:%s and was %s", upload.SHA256, version.Artifact.Digest)
	}
	return upload.ID, err
}

// rebuild makes a version's archive of its commit.
func (r *Restorer) rebuild(ctx context.Context, version modelmanager.VersionInfo) (_ string, err error) {
	folder, _, remove, err := committed(ctx, r.Repository, version.Source, version.Model, r.Scratch)
	if err != nil {
		return "", err
	}
	defer remove()
	prepared, err := Prepare(ctx, folder, Options{Scratch: r.Scratch, Files: r.Files, Progress: func(text string) { r.say(version.Model, "%s", text) }})
	if err != nil {
		return "", err
	}
	defer prepared.Close()
	if lock := version.Source.Lock; lock != "" {
		if err := os.WriteFile(filepath.Join(prepared.Dir, lockName), []byte(lock), 0o644); err != nil {
			return "", fmt.Errorf("writing its lock file: %w", err)
		}
	}
	files, err := archive.List(prepared.Dir, nil)
	if err != nil {
		return "", err
	}
	file, err := os.CreateTemp(r.Scratch, "archive-")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := archive.Write(file, files); err != nil {
		return "", err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	upload, err := r.upload(ctx, version, file)
	if _, _, open := lockOptions(prepared.Dir); open && modelmanager.CodeOf(err) == modelmanager.CodeConflict {
		err = modelmanager.Errorf(modelmanager.CodeConflict, "%w; it has a requirements.txt and no lock file, and the exported state doesn't say what that meant when it was published", err)
	}
	return upload, err
}
