package web

import (
	"io"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

func (w *Web) mountVersions() {
	w.get("/models/{model}/versions", (*visit).versions)
	w.get("/models/{model}/versions/{version}", (*visit).version)
	w.get("/models/{model}/versions/{version}/logs", (*visit).versionLogs)
}

// versionItems is how many versions a page lists. What changed is looked up
// for each, so it is few.
const versionItems = 20

// versionsPage lists a model's versions.
type versionsPage struct {
	modelHead
	Versions    []versionRow
	Next, First string
}

// versionRow is a version, and what changed with it.
type versionRow struct {
	modelmanager.VersionInfo
	Before   int      // the version before it; 0: there is none
	Changes  []string // in words, the first few
	More     int      // beside them
	Breaking bool
	SameSpec bool
	Answers  int // percent of the calls now
}

// Commit is the commit's short name.
func (r versionRow) Commit() string { return shortHash(r.Source.Commit) }

// Who published it: the author of its source, if that is known.
func (r versionRow) Who() string {
	if r.Source.Author != "" {
		return r.Source.Author
	}
	return r.By
}

func shortHash(hash string) string {
	hash = strings.TrimPrefix(hash, "sha256:")
	return hash[:min(len(hash), 10)]
}

func (v *visit) versions() error {
	head, err := v.readModel("versions")
	if err != nil {
		return err
	}
	list, err := v.api().Versions(v.ctx(), head.Name, versionItems, v.query("page"))
	if err != nil {
		return err
	}
	page := versionsPage{modelHead: head}
	here := pathOf("models", head.Name, "versions")
	if v.query("page") != "" {
		page.First = here
	}
	if list.NextPageToken != "" {
		page.Next = here + "?page=" + list.NextPageToken
	}
	if page.Versions, err = v.describeVersions(head, list.Versions); err != nil {
		return err
	}
	return v.page("versions", "models", "Versions of "+head.Name, page)
}

// maxChanges is how many changes of a version a list writes out.
const maxChanges = 3

// describeVersions says of each version what changed with it.
func (v *visit) describeVersions(head modelHead, versions []modelmanager.VersionInfo) ([]versionRow, error) {
	rows := make([]versionRow, len(versions))
	specs := make([]*spec.Spec, len(versions)+1)
	group, ctx := errgroup.WithContext(v.ctx())
	group.SetLimit(8)
	read := func(into **spec.Spec, number int) {
		group.Go(func() error {
			info, err := v.api().Version(ctx, head.Name, number)
			if err != nil {
				return err
			}
			*into, err = spec.FromCanonical(string(info.Spec))
			return err
		})
	}
	for i, version := range versions {
		rows[i] = versionRow{VersionInfo: version}
		for _, share := range head.Traffic.Now().Versions {
			if share.Version == version.Version {
				rows[i].Answers = share.Percent
			}
		}
		read(&specs[i], version.Version)
		// Numbers can be chosen, so the version before isn't always one less.
		if i+1 < len(versions) {
			rows[i].Before = versions[i+1].Version
		}
	}
	if n := len(versions); n > 0 && versions[n-1].Version > 1 {
		older, err := v.api().Versions(v.ctx(), head.Name, 1, strconv.Itoa(versions[n-1].Version))
		if err != nil {
			return nil, err
		}
		if len(older.Versions) == 1 {
			rows[n-1].Before = older.Versions[0].Version
			read(&specs[n], rows[n-1].Before)
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i := range rows {
		if rows[i].Before == 0 {
			continue
		}
		changes := spec.Diff(specs[i+1], specs[i])
		rows[i].Breaking, rows[i].SameSpec = changes.Breaking(), len(changes) == 0
		for _, change := range changes[:min(len(changes), maxChanges)] {
			rows[i].Changes = append(rows[i].Changes, change.Message)
		}
		rows[i].More = max(0, len(changes)-maxChanges)
	}
	return rows, nil
}

// versionPage is one version.
type versionPage struct {
	modelHead
	Version     versionRow
	Own         *spec.Spec
	Features    []fieldRow
	Predictions []fieldRow
	Training    []pair
	Runs        string
}

// pathVersion reads the version that the path names.
func (v *visit) pathVersion() (modelmanager.VersionInfo, error) {
	number, err := versionNumber(v.r.PathValue("version"))
	if err != nil {
		return modelmanager.VersionInfo{}, modelmanager.Errorf(modelmanager.CodeNotFound, "%w", err)
	}
	return v.api().Version(v.ctx(), v.r.PathValue("model"), number)
}

func (v *visit) version() error {
	head, err := v.readModel("versions")
	if err != nil {
		return err
	}
	info, err := v.pathVersion()
	if err != nil {
		return err
	}
	own, err := spec.FromCanonical(string(info.Spec))
	if err != nil {
		return err
	}
	rows, err := v.describeVersions(head, []modelmanager.VersionInfo{info})
	if err != nil {
		return err
	}
	return v.page("version", "models", head.Name+", version "+strconv.Itoa(info.Version), versionPage{
		modelHead: head, Version: rows[0], Own: own, Training: flatten("", own.Training), Runs: runsWords(own),
		Features: fieldRows(own.Features, own.Examples), Predictions: fieldRows(own.Predictions, nil),
	})
}

// runsWords says how a model is run.
func runsWords(s *spec.Spec) string {
	switch {
	case s.Run.Python != "":
		return "Python, " + s.Run.Python
	case s.Run.R != "":
		return "R, " + s.Run.R
	case s.Run.HTTP != nil:
		return "a server, " + strings.Join(s.Run.HTTP.Command, " ")
	case s.Run.Job != nil:
		return "a program for whole files, " + strings.Join(s.Run.Job.Command, " ")
	}
	return "a program, " + strings.Join(s.Run.Command, " ")
}

// logsPage is what a version's workers have written.
type logsPage struct {
	modelHead
	Version int
	Text    string
}

// Lines of a log that the page shows, and how long they may be together.
const (
	logLines = 500
	logBytes = 1 << 20
)

func (v *visit) versionLogs() error {
	head, err := v.readModel("versions")
	if err != nil {
		return err
	}
	info, err := v.pathVersion()
	if err != nil {
		return err
	}
	logs, err := v.api().Logs(v.ctx(), head.Name, info.Version, logLines)
	if err != nil {
		return err
	}
	defer logs.Close()
	text, err := io.ReadAll(io.LimitReader(logs, logBytes))
	if err != nil {
		return err
	}
	return v.page("logs", "models", "Log of "+head.Name, logsPage{modelHead: head, Version: info.Version, Text: strings.ToValidUTF8(string(text), "�")})
}
