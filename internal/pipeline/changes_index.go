package pipeline

import (
	"context"
	"path"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/repository"
)

// index knows the head of every model.yaml in a tree: which folders are models,
// their names, and which models a template or shared folder belongs to.
type index struct {
	base    *kept            // of an earlier tree
	changed map[string]*head // since then, by folder; nil: gone
	links   map[string]string
}

// Hidden folders hold no models, as with `mm serve --models`.
func hidden(file string) bool {
	return file[0] == '.' || strings.Contains(file, "/.")
}

// openIndex reads the index of a tree: from what was kept of an earlier one,
// brought up to date, or anew.
func openIndex(ctx context.Context, s Span, objects *repository.Objects, tree string) (*index, error) {
	r := s.Repository
	kept, err := s.kept()
	if err == nil && len(kept.tree) == len(tree) {
		x := &index{base: kept, changed: map[string]*head{}, links: kept.links}
		seen := 0
		err = r.Diff(ctx, kept.tree, tree, func(change repository.PathChange) error {
			seen++
			return x.take(objects, repository.Entry{Path: change.Path, Object: change.To})
		})
		if err == nil {
			if seen > keepAfter {
				makeKept(tree, x.all(), x.links).write(r)
			}
			return x, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return buildIndex(ctx, r, objects, tree)
}

// keepAfter is how many paths differ before the index is written again.
const keepAfter = 300

// buildIndex reads every model.yaml of a tree, and keeps the index.
func buildIndex(ctx context.Context, r *repository.Repository, objects *repository.Objects, tree string) (*index, error) {
	x := &index{changed: map[string]*head{}, links: map[string]string{}}
	var folders, hashes []string
	var heads []head
	err := r.List(ctx, tree, nil, func(entry repository.Entry) error {
		switch {
		case hidden(entry.Path):
		case entry.IsFile() && path.Base(entry.Path) == modelFile:
			folders, hashes = append(folders, path.Dir(entry.Path)), append(hashes, entry.Hash)
		case entry.Mode == repository.ModeLink && path.Base(entry.Path) == modelFile:
			heads = append(heads, head{folder: path.Dir(entry.Path)})
		case entry.Mode == repository.ModeLink:
			return x.take(objects, entry)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = objects.ReadAll(hashes, maxHead, func(i int, data []byte, err error) error {
		if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeTooLarge {
			return err
		}
		heads = append(heads, readHead(folders[i], data))
		return nil
	})
	if err != nil {
		return nil, err
	}
	x.base = makeKept(tree, heads, x.links)
	x.base.write(r)
	return x, nil
}

// take enters what lies at a path now.
func (x *index) take(objects *repository.Objects, entry repository.Entry) error {
	if hidden(entry.Path) {
		return nil
	}
	if path.Base(entry.Path) == modelFile {
		h, err := headAt(objects, entry)
		if err != nil {
			return err
		}
		x.changed[path.Dir(entry.Path)] = h
		return nil
	}
	switch _, there := x.links[entry.Path]; {
	case entry.Mode == repository.ModeLink:
		target, err := objects.Read(entry.Hash, 4096)
		if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeTooLarge {
			return err
		}
		x.links[entry.Path] = placeIn(path.Dir(entry.Path), string(target))
	case there:
		delete(x.links, entry.Path)
	}
	return nil
}

// headAt reads a model.yaml; nil if there is none. Of one that is a link or too
// large, only the folder is known.
func headAt(objects *repository.Objects, entry repository.Entry) (*head, error) {
	folder := path.Dir(entry.Path)
	switch {
	case !entry.There():
		return nil, nil
	case !entry.IsFile():
		return &head{folder: folder}, nil
	}
	data, err := objects.Read(entry.Hash, maxHead)
	if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeTooLarge {
		return nil, err
	}
	h := readHead(folder, data)
	return &h, nil
}

// at returns the head of a folder that has a model.yaml.
func (x *index) at(folder string) (head, bool) {
	if h, found := x.changed[folder]; found {
		if h == nil {
			return head{}, false
		}
		return *h, true
	}
	return x.base.folder(folder)
}

// still keeps those heads of the base that are as they were, and adds the
// changed ones that are meant.
func (x *index) still(heads []head, meant func(h head) bool) []head {
	if len(x.changed) == 0 {
		return heads
	}
	heads = slices.DeleteFunc(heads, func(h head) bool {
		_, changed := x.changed[h.folder]
		return changed
	})
	for _, h := range x.changed {
		if h != nil && meant(*h) {
			heads = append(heads, *h)
		}
	}
	return heads
}

// all returns every head, in no order.
func (x *index) all() []head {
	heads := make([]head, 0, x.base.byFolder.len())
	for i := range x.base.byFolder.len() {
		heads = append(heads, x.base.head(x.base.byFolder.at(i)))
	}
	return x.still(heads, func(head) bool { return true })
}

// extending returns the heads that extend a folder.
func (x *index) extending(folder string) []head {
	return x.using(folder, func(h head) bool { return h.extends != "" && x.real(h.extends) == folder })
}

// sharing returns the heads that share a folder.
func (x *index) sharing(folder string) []head {
	return x.using(folder, func(h head) bool {
		return slices.ContainsFunc(h.shared, func(shared string) bool { return x.real(shared) == folder })
	})
}

func (x *index) using(folder string, uses func(h head) bool) []head {
	var heads []head
	if len(x.links) == 0 {
		heads = x.base.users(folder)
	} else {
		for _, named := range x.base.referred() {
			if x.real(named) == folder {
				heads = append(heads, x.base.users(named)...)
			}
		}
	}
	heads = slices.DeleteFunc(heads, func(h head) bool { return !uses(h) })
	return x.still(heads, uses)
}

// holders returns the folders whose models have a name, sorted.
func (x *index) holders(name string) []string {
	var folders []string
	for _, h := range x.still(x.base.named(name), func(h head) bool { return h.name == name }) {
		folders = append(folders, h.folder)
	}
	slices.Sort(folders)
	return folders
}

// real follows the symbolic links in a folder's path.
func (x *index) real(folder string) string {
	if len(x.links) == 0 {
		return folder
	}
	const mostLinks = 40
	for range mostLinks {
		link := ""
		for at := folder; at != "."; at = path.Dir(at) {
			if _, found := x.links[at]; found {
				link = at // the outermost counts first
			}
		}
		if link == "" {
			return folder
		}
		target := x.links[link]
		if target == "" {
			return folder // it leaves the repository
		}
		folder = path.Join(target, strings.TrimPrefix(folder, link))
	}
	return folder
}

// nameOf is a model's name: its own, or its template's. has finds heads.
func nameOf(h head, has func(folder string) (head, bool)) string {
	const mostTemplates = 10
	for range mostTemplates {
		if h.name != "" || h.extends == "" {
			return h.name
		}
		base, found := has(h.extends)
		if !found {
			return ""
		}
		h = base
	}
	return ""
}

// parts returns the folders that a folder's model is made of: its own, its
// templates', the shared ones of them all, and the links on the way to them.
func (x *index) parts(folder string) []string {
	var parts []string
	add := func(folder string) string {
		for at := folder; at != "." && len(x.links) > 0; at = path.Dir(at) {
			if _, link := x.links[at]; link {
				parts = append(parts, at)
			}
		}
		real := x.real(folder)
		parts = append(parts, real)
		return real
	}
	seen := map[string]bool{}
	for at := folder; at != "" && !seen[at]; {
		seen[at] = true
		h, found := x.at(add(at))
		if !found {
			break
		}
		for _, shared := range h.shared {
			add(shared)
		}
		at = h.extends
	}
	return parts
}
