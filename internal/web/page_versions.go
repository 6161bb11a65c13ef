package web

import (
	"io"
	"slices"
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
	Before  int // the version before it; 0: there is none
	Answers int // percent of the calls now
	versionChanges
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

// describeVersions says of each version what changed with it.
func (v *visit) describeVersions(head modelHead, versions []modelmanager.VersionInfo) ([]versionRow, error) {
	all := slices.Clip(versions) // and the one before them
	if n := len(versions); n > 0 && versions[n-1].Version > 1 {
		older, err := v.api().Versions(v.ctx(), head.Name, 1, strconv.Itoa(versions[n-1].Version))
		if err != nil {
			return nil, err
		}
		all = append(all, older.Versions...)
	}
	rows := make([]versionRow, len(versions))
	var unknown []int // rows whose changes have to be worked out
	for i, version := range versions {
		rows[i] = versionRow{VersionInfo: version}
		for _, share := range head.Traffic.Now().Versions {
			if share.Version == version.Version {
				rows[i].Answers = share.Percent
			}
		}
		if i+1 == len(all) {
			continue
		}
		// Numbers can be chosen, so the version before isn't always one less.
		rows[i].Before = all[i+1].Version
		var known bool
		if rows[i].versionChanges, known = v.web.changes.get(all[i+1].Digest, version.Digest); !known {
			unknown = append(unknown, i)
		}
	}
	specs, err := v.specsOf(head.Name, all, unknown)
	if err != nil {
		return nil, err
	}
	for _, i := range unknown {
		rows[i].versionChanges = changesOf(spec.Diff(specs[i+1], specs[i]))
		v.web.changes.keep(all[i+1].Digest, all[i].Digest, rows[i].versionChanges)
	}
	return rows, nil
}

// specsOf reads the specs of some versions, and of those after each in the list.
func (v *visit) specsOf(model string, versions []modelmanager.VersionInfo, some []int) ([]*spec.Spec, error) {
	specs := make([]*spec.Spec, len(versions))
	group, ctx := errgroup.WithContext(v.ctx())
	group.SetLimit(8)
	asked := map[int]bool{}
	for _, i := range some {
		for _, at := range []int{i, i + 1} {
			if asked[at] {
				continue
			}
			asked[at] = true
			group.Go(func() error {
				info, err := v.api().Version(ctx, model, versions[at].Version)
				if err != nil {
					return err
				}
				specs[at], err = spec.FromCanonical(string(info.Spec))
				return err
			})
		}
	}
	return specs, group.Wait()
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
