package buildkit

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	"modelmanager.dev/internal/wording"
)

// steps follows a build: it tells what is being done, and what the steps write,
// and remembers the last of it.
type steps struct {
	progress func(string)
	known    map[digest.Digest]*step
	failed   digest.Digest // the first that did
}

// step is one step of a build.
type step struct {
	name string
	told bool           // that it has begun
	line map[int][]byte // by stream: what it has written since the last end of a line
	last []string       // the last lines that it wrote
}

// Bounds of what is remembered.
const (
	mostLines = 20
	mostLine  = 500
)

func newSteps(progress func(string)) *steps {
	if progress == nil {
		progress = func(string) {}
	}
	return &steps{progress: progress, known: map[digest.Digest]*step{}}
}

func (s *steps) step(id digest.Digest) *step {
	if s.known[id] == nil {
		s.known[id] = &step{line: map[int][]byte{}}
	}
	return s.known[id]
}

func (s *steps) take(status *client.SolveStatus) {
	for _, vertex := range status.Vertexes {
		step := s.step(vertex.Digest)
		step.name = vertex.Name
		if vertex.Started != nil && !vertex.Cached && !step.told && !strings.HasPrefix(vertex.Name, "[internal]") {
			step.told = true
			s.progress(short(vertex.Name))
		}
		if vertex.Error != "" && s.failed == "" && !strings.HasSuffix(vertex.Error, "context canceled") {
			s.failed = vertex.Digest
		}
	}
	for _, log := range status.Logs {
		s.write(s.step(log.Vertex), log.Stream, log.Data)
	}
	for _, warning := range status.Warnings {
		at := ""
		if len(warning.Range) > 0 && warning.SourceInfo != nil {
			at = fmt.Sprintf("%s, line %d: ", warning.SourceInfo.Filename, warning.Range[0].Start.Line)
		}
		s.progress("warning: " + at + string(warning.Short))
	}
}

// end tells what was written last without the end of a line.
func (s *steps) end() {
	for _, step := range s.known {
		for stream := range step.line {
			s.flush(step, stream)
		}
	}
}

func (s *steps) write(step *step, stream int, data []byte) {
	for {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		if room := 64*mostLine - len(step.line[stream]); len(line) > room {
			line = line[:room]
		}
		step.line[stream] = append(step.line[stream], line...)
		if !whole {
			return
		}
		s.flush(step, stream)
		data = rest
	}
}

// flush ends a line. Of one that was written over again and again, as progress
// is, the last form counts.
func (s *steps) flush(step *step, stream int) {
	text := strings.TrimRight(string(step.line[stream]), "\r \t")
	step.line[stream] = step.line[stream][:0]
	text = short(text[strings.LastIndexByte(text, '\r')+1:])
	if text == "" {
		return
	}
	s.progress("  " + text)
	step.last = append(step.last, text)
	if len(step.last) > mostLines {
		step.last = step.last[1:]
	}
}

// short is one line of bounded length.
func short(text string) string {
	text = strings.Join(strings.Split(strings.TrimSpace(strings.ToValidUTF8(text, "�")), "\n"), " ")
	return wording.Shorten(text, mostLine)
}
