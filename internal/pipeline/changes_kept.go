package pipeline

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"

	"modelmanager.dev/internal/repository"
)

// kept is an index as it was written beside the repository's objects, in a file
// that may be deleted at any time. It is searched as it lies there, so that
// reading it takes no longer with many models than with few.
//
// The file is a line with a checksum and the lengths of what follows: the
// heads, one after the other, each a list of texts that end with a NUL (folder,
// name, template, shared folders, an empty one); the symbolic links (path,
// target); and three tables of places in the heads: of each head, by folder; of
// each head, by name; of each reference to a template or shared folder, by that
// folder, with the head that it is in.
type kept struct {
	tree                   string
	heads                  []byte
	byFolder, byName, refs places
	links                  map[string]string
}

const keptMagic = "Model Manager's index of model.yaml, 1"

func keptPath(r *repository.Repository) string {
	return filepath.Join(r.Common, "modelmanager", "index")
}

var errNotKept = errors.New("no index is kept")

// keptMeanwhile starts to read the index that was kept last.
func keptMeanwhile(r *repository.Repository) func() (*kept, error) {
	read := sync.OnceValues(func() (*kept, error) { return readKept(r) })
	go func() { _, _ = read() }()
	return read
}

// readKept reads the index that was kept last.
func readKept(r *repository.Repository) (*kept, error) {
	data, err := os.ReadFile(keptPath(r))
	if err != nil {
		return nil, err
	}
	line, body, found := bytes.Cut(data, []byte("\n"))
	if !found || string(line) != keptMagic || len(body) < 4+6*4 || crc32.ChecksumIEEE(body[4:]) != binary.LittleEndian.Uint32(body) {
		return nil, errNotKept
	}
	body = body[4:]
	var lengths [6]int
	total := 0
	for i := range lengths {
		lengths[i] = int(binary.LittleEndian.Uint32(body[4*i:]))
		total += lengths[i]
	}
	if body = body[4*len(lengths):]; total != len(body) {
		return nil, errNotKept
	}
	take := func(i int) []byte {
		part := body[:lengths[i]]
		body = body[lengths[i]:]
		return part
	}
	k := &kept{tree: string(take(0)), heads: take(1), links: map[string]string{}}
	for links := string(take(2)); links != ""; {
		var path, target string
		path, links, _ = strings.Cut(links, "\x00")
		target, links, _ = strings.Cut(links, "\x00")
		k.links[path] = target
	}
	k.byFolder, k.byName, k.refs = take(3), take(4), take(5)
	return k, nil
}

// places is a table of places in the heads.
type places []byte

func (p places) len() int        { return len(p) / 4 }
func (p places) at(i int) uint32 { return binary.LittleEndian.Uint32(p[4*i:]) }

// text is the text at a place.
func (k *kept) text(at uint32) []byte {
	rest := k.heads[at:]
	return rest[:bytes.IndexByte(rest, 0)]
}

// head reads the head at a place.
func (k *kept) head(at uint32) head {
	next := func() string {
		text := k.text(at)
		at += uint32(len(text)) + 1
		return string(text)
	}
	h := head{folder: next(), name: next(), extends: next()}
	for {
		shared := next()
		if shared == "" {
			return h
		}
		h.shared = append(h.shared, shared)
	}
}

// name is the place of the name of the head at a place.
func (k *kept) name(at uint32) uint32 { return at + uint32(len(k.text(at))) + 1 }

// folder returns the head of a folder.
func (k *kept) folder(folder string) (head, bool) {
	i := sort.Search(k.byFolder.len(), func(i int) bool { return string(k.text(k.byFolder.at(i))) >= folder })
	if i == k.byFolder.len() || string(k.text(k.byFolder.at(i))) != folder {
		return head{}, false
	}
	return k.head(k.byFolder.at(i)), true
}

// named returns the heads with a name.
func (k *kept) named(name string) []head {
	i := sort.Search(k.byName.len(), func(i int) bool { return string(k.text(k.name(k.byName.at(i)))) >= name })
	var heads []head
	for ; i < k.byName.len() && string(k.text(k.name(k.byName.at(i)))) == name; i++ {
		heads = append(heads, k.head(k.byName.at(i)))
	}
	return heads
}

// users returns the heads that name a folder as template or shared folder.
func (k *kept) users(folder string) []head {
	count := k.refs.len() / 2
	i := sort.Search(count, func(i int) bool { return string(k.text(k.refs.at(2*i))) >= folder })
	var heads []head
	for ; i < count && string(k.text(k.refs.at(2*i))) == folder; i++ {
		heads = append(heads, k.head(k.refs.at(2*i+1)))
	}
	return heads
}

// referred returns every folder that is named as template or shared folder.
func (k *kept) referred() []string {
	var folders []string
	for i := range k.refs.len() / 2 {
		text := k.text(k.refs.at(2 * i))
		if len(folders) == 0 || folders[len(folders)-1] != string(text) {
			folders = append(folders, string(text))
		}
	}
	return folders
}

// makeKept makes the index of heads.
func makeKept(tree string, heads []head, links map[string]string) *kept {
	slices.SortFunc(heads, func(a, b head) int { return cmp.Compare(a.folder, b.folder) })
	k := &kept{tree: tree, links: links}
	text := func(s string) uint32 {
		at := uint32(len(k.heads))
		k.heads = append(append(k.heads, s...), 0)
		return at
	}
	var folders []uint32
	var refs [][2]uint32
	for _, h := range heads {
		at := text(h.folder)
		folders = append(folders, at)
		text(strings.ReplaceAll(h.name, "\x00", ""))
		if extends := text(h.extends); h.extends != "" {
			refs = append(refs, [2]uint32{extends, at})
		}
		for _, shared := range h.shared {
			refs = append(refs, [2]uint32{text(shared), at})
		}
		text("")
	}
	for _, at := range folders {
		k.byFolder = binary.LittleEndian.AppendUint32(k.byFolder, at)
	}
	slices.SortStableFunc(folders, func(a, b uint32) int { return bytes.Compare(k.text(k.name(a)), k.text(k.name(b))) })
	for _, at := range folders {
		k.byName = binary.LittleEndian.AppendUint32(k.byName, at)
	}
	slices.SortStableFunc(refs, func(a, b [2]uint32) int { return bytes.Compare(k.text(a[0]), k.text(b[0])) })
	for _, ref := range refs {
		k.refs = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(k.refs, ref[0]), ref[1])
	}
	return k
}

// write keeps an index for the next time. Where that can't be, it is made anew
// each time.
func (k *kept) write(r *repository.Repository) {
	var links []byte
	for path, target := range k.links {
		links = append(append(links, path...), 0)
		links = append(append(links, strings.ReplaceAll(target, "\x00", "")...), 0)
	}
	parts := [][]byte{[]byte(k.tree), k.heads, links, k.byFolder, k.byName, k.refs}
	var body []byte
	for _, part := range parts {
		body = binary.LittleEndian.AppendUint32(body, uint32(len(part)))
	}
	body = append(body, bytes.Join(parts, nil)...)
	dir := filepath.Dir(keptPath(r))
	if os.MkdirAll(dir, 0o755) != nil {
		return
	}
	file, err := os.CreateTemp(dir, "index-*")
	if err != nil {
		return
	}
	_, err = file.Write(slices.Concat([]byte(keptMagic+"\n"), binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(body)), body))
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), keptPath(r))
	}
	if err != nil {
		os.Remove(file.Name())
	}
}
