package pipeline

import (
	"cmp"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"modelmanager.dev/internal/repository"
)

// comparison finds out which models differ, from the paths that do.
type comparison struct {
	to     *index          // after
	before map[string]head // model.yaml that changed or went: what it said before
	fresh  map[string]bool // folders whose model.yaml is new

	paths []repository.PathChange // that differ

	touched map[string]bool    // folders with a model.yaml some of whose own files differ
	covered map[string]bool    // folders, and what isn't one, that hold a differing file without a model.yaml in between
	causes  map[string][]Cause // why a folder's model differs, by folder
}

// note takes what a path that differs says about models.
func (d *comparison) note(s Span, objects *repository.Objects, change repository.PathChange) error {
	if path.Base(change.Path) != modelFile || hidden(change.Path) {
		return nil
	}
	folder := path.Dir(change.Path)
	if s.WorkTree {
		d.to.changed[folder] = headOnDisk(s.Repository.Root, change.Path)
	}
	before, err := headAt(objects, repository.Entry{Path: change.Path, Object: change.From})
	if err != nil {
		return err
	}
	if before == nil {
		d.fresh[folder] = true
	} else {
		d.before[folder] = *before
	}
	return nil
}

// headOnDisk reads a model.yaml of the work tree; nil if there is none.
func headOnDisk(root, file string) *head {
	name := filepath.Join(root, filepath.FromSlash(file))
	info, err := os.Lstat(name)
	if err != nil {
		return nil
	}
	h := head{folder: path.Dir(file)}
	if info.Mode().IsRegular() && info.Size() <= maxHead {
		if data, err := os.ReadFile(name); err == nil {
			h = readHead(h.folder, data)
		}
	}
	return &h
}

func (d *comparison) after(folder string) (head, bool) { return d.to.at(folder) }

func (d *comparison) earlier(folder string) (head, bool) {
	if h, found := d.before[folder]; found {
		return h, true
	}
	if d.fresh[folder] {
		return head{}, false
	}
	return d.to.at(folder)
}

// owner is the folder whose model a file belongs to: the nearest upwards that
// has a model.yaml; "" if none has.
func owner(file string, has func(string) (head, bool)) string {
	for folder := file; folder != "."; {
		folder = path.Dir(folder)
		if _, found := has(folder); found {
			return folder
		}
	}
	return ""
}

// changes finds every model that differs, by folder.
func (d *comparison) changes() []Change {
	d.attribute()
	d.spread()
	var changes []Change
	lost := map[string]string{}   // names that a folder no longer has: the folder
	gained := map[string]string{} // names that a folder didn't have: the folder
	for _, folder := range d.folders() {
		was, now := d.earlierName(folder), ""
		h, there := d.after(folder)
		isModel := there && !d.template(h)
		if isModel {
			now = nameOf(h, d.after)
		}
		switch {
		case isModel && (was == now || was != "" && now == ""):
			// One whose name can't be read any more has not lost it.
			change := Change{Folder: folder, Model: cmp.Or(now, was), Kind: Changed, Because: d.causes[folder]}
			if _, existed := d.earlier(folder); !existed {
				change.Kind = Added
			}
			changes = append(changes, change)
			continue
		case isModel:
			gained[now] = folder
			changes = append(changes, Change{Folder: folder, Model: now, Kind: Added, Because: d.causes[folder]})
		}
		if was != "" {
			lost[was] = folder
		}
	}
	return d.settle(changes, lost, gained)
}

// folders are those whose models may differ.
func (d *comparison) folders() []string {
	folders := maps.Clone(d.touched)
	for folder := range d.causes {
		folders[folder] = true
	}
	return slices.Sorted(maps.Keys(folders))
}

// earlierName is the name of the model that a folder held before; "" if none.
func (d *comparison) earlierName(folder string) string {
	h, found := d.earlier(folder)
	if !found {
		return ""
	}
	return nameOf(h, d.earlier)
}

// template tells whether a model.yaml is not a model's: it has no name, and is
// there for others to extend.
func (d *comparison) template(h head) bool {
	if nameOf(h, d.after) != "" {
		return false
	}
	if slices.Contains(strings.Split(h.folder, "/"), "templates") {
		return true
	}
	return len(d.to.extending(h.folder)) > 0
}

// settle tells moved models from removed and added ones, and finds twins.
func (d *comparison) settle(changes []Change, lost, gained map[string]string) []Change {
	for i := range changes {
		change := &changes[i]
		if change.Model != "" {
			twins := slices.DeleteFunc(d.to.holders(change.Model), func(folder string) bool { return folder == change.Folder })
			change.Twins = append(change.Twins, twins...)
		}
		if from, found := lost[change.Model]; found && change.Kind == Added && gained[change.Model] == change.Folder {
			change.Kind, change.From = Moved, from
			if d.same(from, change.Folder) {
				change.Because = slices.DeleteFunc(slices.Clone(change.Because), func(c Cause) bool { return c.Kind == OwnFiles })
			}
		}
	}
	for name, folder := range lost {
		if len(d.to.holders(name)) == 0 {
			changes = append(changes, Change{Folder: folder, Model: name, Kind: Removed})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Model, b.Model))
	})
	return changes
}

// same tells whether a moved folder holds what it held.
func (d *comparison) same(from, to string) bool {
	left := map[string]repository.Object{}
	count := 0
	for _, change := range d.paths {
		if change.From.There() && owner(change.Path, d.earlier) == from {
			left[strings.TrimPrefix(change.Path, from+"/")] = change.From
		}
	}
	for _, change := range d.paths {
		if change.To.There() && owner(change.Path, d.after) == to {
			count++
			if object, found := left[strings.TrimPrefix(change.Path, to+"/")]; !found || object != change.To {
				return false
			}
		}
	}
	return count == len(left)
}

// attribute finds the folders that the differing paths belong to.
func (d *comparison) attribute() {
	d.touched, d.covered = map[string]bool{}, map[string]bool{}
	for _, change := range d.paths {
		d.covered[change.Path] = true
		newer, older := owner(change.Path, d.after), owner(change.Path, d.earlier)
		d.cover(change.Path, newer)
		if older != newer {
			d.cover(change.Path, older)
		}
	}
}

// cover marks the folders that hold a file, up to its owner.
func (d *comparison) cover(file, owner string) {
	if owner != "" {
		d.touched[owner] = true
	}
	for folder := file; folder != "."; {
		folder = path.Dir(folder)
		d.covered[folder] = true
		if folder == owner {
			return
		}
	}
}

// spread finds why each model differs: by its own files, and by those of the
// templates and shared folders that it is made of.
func (d *comparison) spread() {
	d.causes = map[string][]Cause{}
	var dirty []string
	add := func(folder string, cause Cause) bool {
		if slices.Contains(d.causes[folder], cause) {
			return false
		}
		d.causes[folder] = append(d.causes[folder], cause)
		return true
	}
	for folder := range d.covered {
		for _, user := range d.to.sharing(folder) {
			if add(user.folder, Cause{Kind: FromShared, Folder: folder}) {
				dirty = append(dirty, user.folder)
			}
		}
	}
	for folder := range d.touched {
		if _, there := d.after(folder); there {
			add(folder, Cause{Kind: OwnFiles})
		}
		for _, user := range d.to.extending(folder) {
			if add(user.folder, Cause{Kind: FromTemplate, Folder: folder}) {
				dirty = append(dirty, user.folder)
			}
		}
	}
	for len(dirty) > 0 {
		folder := dirty[0]
		dirty = dirty[1:]
		for _, user := range d.to.extending(folder) {
			for _, cause := range d.causes[folder] {
				if cause.Kind != OwnFiles && cause.Folder != user.folder && add(user.folder, cause) {
					dirty = append(dirty, user.folder)
				}
			}
		}
	}
	for _, causes := range d.causes {
		slices.SortFunc(causes, func(a, b Cause) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Folder, b.Folder))
		})
	}
}
